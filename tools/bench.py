#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What exits, faults and the boot cost, in instructions: `make bench`, or tools/bench.py [RIG...].

Runs the built-in guest `bench` and the demo on rigs that count instructions, each twice; the two runs must agree
exactly. Prints a table beside the limits and, for all rigs, writes build/bench.json. Fails if two runs differ, if a
number is missing, or if one is above its limit.
"""

import fcntl
import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
BUILD = TOP / "build"
TIMEOUT = 240
FRAME_BYTES = 4096

# name -> limit by rig; a name that a rig does not have is not measured there
LIMITS: dict[str, dict[str, int]] = {
    "exit.cpuid": {"svm": 150, "vmx": 150},
    "exit.hypercall": {"svm": 120, "vmx": 120, "el2": 120},
    "exit.port_read": {"svm": 220, "vmx": 220},
    "exit.msr_read": {"svm": 170, "vmx": 170},
    "exit.mmio_read": {"svm": 450, "vmx": 450, "el2": 200},
    "vgic.sgi": {"el2": 760},
    "timer.injection": {"el2": 800},
    "fault.4k": {"svm": 450, "vmx": 450, "el2": 450},
    "fault.2m": {"svm": 600, "vmx": 600, "el2": 600},
    "boot.to_guest": {"svm": 5_000_000, "vmx": 5_000_000, "el2": 5_000_000},
}
BYTES = ("image.bytes", "host.bytes")
RIGS = ("svm", "vmx", "el2")
ISA = {"svm": "x86_64", "vmx": "x86_64", "el2": "aarch64"}
TICKS = {"svm": 64, "vmx": 1, "el2": 1}  # of the guest's counter for one instruction
# QEMU's disks answer in real time, which would be counted as polling by the firmware: it gets the EFI file without one.
DEMO_OPTIONS = {"svm": ("--direct",), "vmx": (), "el2": ("--direct",)}
HOST_BYTES_BASE, HOST_BYTES_SHARE = 4 << 20, 0.003  # at most, with this share of guest memory on top

CONFIGURATION = """\
[vm exits]
kernel = builtin:bench
memory = 16M
pages = 4K
cmdline = exits

[vm large]
kernel = builtin:bench
memory = 256M
cmdline = faults-2m
"""


class BenchError(Exception):
    """The numbers are not to be had; the message says why."""


Numbers = dict[str, int]  # name -> value


def run(rig: str, *options: str) -> str:
    """The log of a run that ended well."""
    command: list[str | Path] = [TOP / "run-qemu.sh", "--rig", rig, "--timeout", str(TIMEOUT), "--icount", *options]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    log = done.stdout.decode(errors="replace").replace("\r", "")
    if done.returncode != 0:
        tail = "\n".join(log.splitlines()[-20:])
        raise BenchError(f"{rig}: run-qemu.sh ended with status {done.returncode}\n{tail}{done.stderr.decode()}")
    return log


def instructions(rig: str, name: str, ticks: int) -> int:
    if ticks % TICKS[rig]:
        raise BenchError(f"{rig}: {name} is {ticks} ticks, no multiple of {TICKS[rig]}: they count no instructions")
    return ticks // TICKS[rig]


def guest_numbers(rig: str) -> Numbers:
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as conf:
        conf.write(CONFIGURATION)
        conf.flush()
        log = run(rig, "--conf", conf.name)
    measured = re.findall(r"^bench: (\S+) (-?[0-9]+) ticks$", log, re.MULTILINE)
    return {name: instructions(rig, name, int(ticks)) for name, ticks in measured}


def demo_numbers(rig: str) -> Numbers:
    """The way to the first guest, and what the hypervisor holds while the second one runs."""
    log = run(rig, *DEMO_OPTIONS[rig])
    entry = re.search(r"\] vm hello: first entry ([0-9]+) counter ticks after efi_main$", log, re.MULTILINE)
    counts = r"\] mm: [0-9]+ frames, [0-9]+ free, ([0-9]+) kernel, ([0-9]+) tables, ([0-9]+) guest$"
    frames = re.findall(counts, log, re.MULTILINE)
    held = [(int(kernel) + int(tables)) * FRAME_BYTES for kernel, tables, guest in frames if int(guest) > 0]
    if not entry or not held:
        raise BenchError(f"{rig}: the demo's log lacks its first entry or its frame counts")
    return {"boot.to_guest": instructions(rig, "boot.to_guest", int(entry[1])), "host.bytes": max(held)}


def one_run(rig: str) -> Numbers:
    image = BUILD / ISA[rig] / "caisson.efi"
    return {**guest_numbers(rig), **demo_numbers(rig), "image.bytes": image.stat().st_size}


def measure(rig: str) -> Numbers:
    """The numbers of a rig, the same in two runs."""
    first, second = one_run(rig), one_run(rig)
    different = [name for name in first | second if first.get(name) != second.get(name)]
    if different:
        values = ", ".join(f"{name} {first.get(name)} and {second.get(name)}" for name in different)
        raise BenchError(f"{rig}: two runs differ: {values}")
    return first


# ---- judging and showing ----


def limit(rig: str, name: str) -> "int | None":
    if name == "host.bytes":
        return HOST_BYTES_BASE + int(HOST_BYTES_SHARE * demo_guest_bytes())
    return LIMITS.get(name, {}).get(rig)


def demo_guest_bytes() -> int:
    """Memory of the demo's larger guest, 72 MiB (config_demo in hv/config.c)."""
    return 72 << 20


def complaints(rig: str, numbers: Numbers) -> list[str]:
    wanted = [name for name, limits in LIMITS.items() if rig in limits] + list(BYTES)
    found = [f"{rig}: {name} was not measured" for name in wanted if name not in numbers]
    for name, value in numbers.items():
        most = limit(rig, name)
        if most is not None and value > most:
            found.append(f"{rig}: {name} is {value}, above its limit of {most}")
        if value <= 0:
            found.append(f"{rig}: {name} is {value}, which cannot be")
    return found


def table(results: dict[str, Numbers]) -> str:
    names = [*LIMITS, *BYTES]
    names += sorted({name for numbers in results.values() for name in numbers} - set(names))
    lines = [f"{'name':<16}" + "".join(f"{rig:>12}{'limit':>12} " for rig in results)]
    for name in names:
        line = f"{name:<16}"
        for rig, numbers in results.items():
            value, most = numbers.get(name), limit(rig, name)
            over = "*" if value is not None and most is not None and value > most else " "
            line += f"{'' if value is None else value:>12}{'' if most is None else most:>12}{over}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def write_json(rows: "list[tuple[str, str, str, int | float]]") -> Path:
    """Rig, name, unit, value: put into build/bench.json, where they replace those of the same rig and name."""
    path = BUILD / "bench.json"
    with open(BUILD / "bench.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        replace_rows(path, rows)
    return path


def replace_rows(path: Path, rows: "list[tuple[str, str, str, int | float]]") -> None:
    kept = json.loads(path.read_text()) if path.exists() else []
    all_rows = {(row["rig"], row["name"]): row for row in kept}
    for rig, name, unit, value in rows:
        all_rows[rig, name] = {"name": name, "rig": rig, "unit": unit, "value": value}
    written = path.with_suffix(".new")
    written.write_text("[\n" + ",\n".join("  " + json.dumps(row) for row in all_rows.values()) + "\n]\n")
    written.replace(path)


def rows_of(results: dict[str, Numbers]) -> "list[tuple[str, str, str, int | float]]":
    return [
        (rig, name, "bytes" if name in BYTES else "instructions", value)
        for rig, numbers in results.items()
        for name, value in numbers.items()
    ]


def main() -> int:
    rigs = sys.argv[1:] or list(RIGS)
    if unknown := [rig for rig in rigs if rig not in RIGS]:
        print(f"bench.py: {unknown[0]}: one of {' '.join(RIGS)}", file=sys.stderr)
        return 2
    try:
        with ThreadPoolExecutor(2) as pool:
            results = dict(zip(rigs, pool.map(measure, rigs)))
    except BenchError as error:
        print(f"bench.py: {error}", file=sys.stderr)
        return 1
    print(table(results))
    print("\ninstructions and bytes, the same in two runs")
    if len(results) == len(RIGS):
        print(f"also in {write_json(rows_of(results)).relative_to(TOP)}")
    found = [line for rig, numbers in results.items() for line in complaints(rig, numbers)]
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
