#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What Debian's cloud kernel costs as a guest, beside the same kernel bare, in instructions: `make bench-linux`.

On QEMU TCG with -icount, every run twice; the two must agree exactly. What counts is what the machine executes, whoever
executes it (tests/bench/count_plugin.c), and not its time: waiting costs nothing. Prints a table and, in
build/bench.json, replaces the rows `linux.*`, `work.*` and `virtio.*`. Fails if two runs differ, a number is missing or
one is above its limit; with --check, if it is above what is known of it, too.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from bench import BUILD, TOP, BenchError, write_json
from rig_emulators import Options, bare_linux

TIMEOUT = 3600
WORKERS = 2
MEMORY = 512  # MiB, of the bare machine and of the guest
PLUGIN = BUILD / "host/count_plugin.so"
DISK_BYTES = 1 << 20
SERVER, CLIENT = "10.0.0.1", "10.0.0.2"

# What tests/linux/mark.h numbers, and how many of it are between the marks (tests/linux/work.c).
MARK_INIT = 1
MARKS = {
    "work.sha256": 10,
    "work.fork": 20,
    "work.touch.first": 30,
    "work.touch": 40,
    "work.timer": 50,
    "work.pipe": 60,
    "virtio.blk.read": 70,
    "virtio.net.roundtrip": 80,
}
TIMES = {"virtio.blk.read": 2000, "virtio.net.roundtrip": 200}

# Most that a guest may execute for each instruction of the bare kernel; and what it does execute where that is more: it
# shall not get worse.
LIMITS = {"linux": 1.03, "work.sha256": 1.005, "work.fork": 1.03, "work.touch": 1.10, "work.pipe": 1.02}
KNOWN = {  # rig and name -> ratio
    ("svm", "linux.x86"): 1.10,
}

# Run by mkinitrd.py's init, where the machine has devices that need modules.
SCRIPT = f"""\
eval "$(tr ' ' '\\n' </proc/cmdline | grep '^bench=')"
case $bench in
disk)
	/work disk ;;
server)
	ip addr add {SERVER}/24 dev eth0
	ip link set eth0 up
	nc -l -p 99 </dev/null ;; # until the client is ready
client)
	ip addr add {CLIENT}/24 dev eth0
	ip link set eth0 up
	echo 0 0 >/proc/sys/net/ipv4/ping_group_range
	until ping -c 1 -W 1 {SERVER} >/dev/null; do :; done
	/work ping {SERVER}
	echo ready | nc {SERVER} 99 ;;
esac
poweroff -f
"""


@dataclass(frozen=True)
class Isa:
    name: str  # in the rows' names
    build: str  # in build/
    rig: str
    debian: str
    console: str
    seconds: int  # of the guest's CPU time, after which it must hang

    def landmark(self, kernel: bytes) -> bytes:
        """An instruction near the kernel's first that it has once, and passes both bare and as a guest."""
        if self.name == "arm64":
            return kernel[:4]  # the Image's first word: "MZ", and an instruction at once
        startup_64 = (kernel[0x1F1] + 1) * 512 + 0x200  # Linux Documentation/arch/x86/boot.rst
        found = kernel[startup_64 + 14 :][:7]
        if found[:3] != b"\x48\x8d\x2d":
            raise BenchError("the kernel's startup_64 is another one: no LEA relative to RIP behind the segments")
        return found


ISAS = {
    "x86": Isa("x86", "x86_64", "svm", "amd64", "ttyS0", 1500),
    "arm64": Isa("arm64", "aarch64", "el2", "arm64", "ttyAMA0", 60),
}


@dataclass
class Run:
    """What a run told."""

    log: str
    counts: dict[str, int] = field(default_factory=dict)  # mark -> instructions since the machine's reset

    def between(self, start: "str | int", end: int) -> int:
        try:
            return self.counts[str(end)] - self.counts[str(start)]
        except KeyError as missing:
            raise BenchError(f"the run did not pass mark {missing}:\n{tail_of(self.log)}") from None

    def work(self, name: str) -> int:
        return self.between(MARKS[name], MARKS[name] + 1)


class Bench:
    """One ISA's kernel and initial RAM disk in a directory, and how to run them."""

    def __init__(self, isa: Isa, directory: Path):
        self.isa, self.directory = isa, directory
        kernel, busybox = self.packages(f"linux-image-cloud-{isa.debian}", "busybox-static")
        self.kernel = next(kernel.glob("boot/vmlinuz-*"))
        self.landmark = isa.landmark(self.kernel.read_bytes()).hex()
        self.volume = directory / "volume"
        self.volume.mkdir()
        (directory / "script").write_text(SCRIPT)
        work = BUILD / "linux" / isa.build / "work"
        initrd = [TOP / "tools/mkinitrd.py", "--busybox", busybox, "--kernel", kernel, "--file", f"{work}:/work"]
        call([*initrd, "--script", directory / "script", "--output", self.volume / "initrd"])
        (self.volume / "vmlinuz").write_bytes(self.kernel.read_bytes())
        (self.volume / "disk.img").write_bytes(bytes(DISK_BYTES))

    def packages(self, *names: str) -> list[Path]:
        return [Path(line) for line in call([TOP / "tools/fetch.sh", self.isa.debian, *names]).split()]

    def words(self, words: str) -> str:
        return f"console={self.isa.console} panic=-1 nokaslr {words}"

    def bare(self, words: str) -> Run:
        with tempfile.TemporaryDirectory(dir=self.directory) as name:
            plugin, counts = self.plugin(Path(name))
            options = Options(self.isa.rig, memory=MEMORY, icount=True, el2=False, plugin=plugin)
            serial = Path(name) / "serial"
            call(bare_linux(options, self.kernel, self.volume / "initrd", self.words(words), serial))
            return finished(serial.read_text(errors="replace"), counts)

    def guest(self, *sections: str) -> Run:
        with tempfile.TemporaryDirectory(dir=self.directory) as name:
            plugin, counts = self.plugin(Path(name))
            conf = Path(name) / "conf"
            conf.write_text("\n".join(sections))
            command = [TOP / "run-qemu.sh", "--rig", self.isa.rig, "--icount", "--ramdisk", "--plugin", plugin]
            command += ["--timeout", str(TIMEOUT), "--volume", self.volume, "--conf", conf]
            return finished(call(command), counts)

    def plugin(self, directory: Path) -> tuple[str, Path]:
        counts = directory / "counts"
        return f"{PLUGIN},out={counts},kernel={self.landmark}", counts

    def section(self, name: str, words: str, *keys: str, memory: int = MEMORY) -> str:
        lines = [f"[vm {name}]", "kernel = \\vmlinuz", "initrd = \\initrd", f"memory = {memory}M"]
        lines += [f"cmdline = {self.words(words)}", f"cpu-time = {self.isa.seconds}s"]
        return "\n".join([*lines, *keys, ""])


def call(command: "list[str | Path]") -> str:
    """A program's output, if it ended well."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=TIMEOUT + 60)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{command[0]} took longer than {TIMEOUT} seconds") from None
    output = done.stdout.decode(errors="replace").replace("\r", "")
    if done.returncode != 0:
        tail = f"{tail_of(output)}\n{done.stderr.decode(errors='replace')}"
        raise BenchError(f"{' '.join(map(str, command))}: ended with status {done.returncode}\n{tail}")
    return output


def finished(log: str, path: Path) -> Run:
    marks = re.findall(r"^mark (\w+) (\d+)$", path.read_text(), re.M)
    counts = {name: int(count) for name, count in marks}
    if len(counts) != len(marks):
        raise BenchError(f"a mark was passed twice, so the kernel started anew:\n{tail_of(log)}")
    return Run(log, counts)


def tail_of(log: str) -> str:
    return "\n".join(log.splitlines()[-20:])


# ---- what is measured ----

Numbers = dict[str, "int | float"]  # name -> value; "NAME.bare", "NAME.guest" and their ratio as NAME


def boot(bench: Bench) -> tuple[Numbers, str]:
    """To init's first line, after which it turns the machine off; and what the guest's exits were."""
    bare, guest = bench.bare("rdinit=/work"), bench.guest(bench.section("linux", "rdinit=/work"))
    name = f"linux.{bench.isa.name}"
    frames = [int(count) for count in re.findall(r"\] mm: .* ([0-9]+) guest$", guest.log, re.M)]
    exits = re.search(r"\] vm linux: exits: (.*)$", guest.log, re.M)
    numbers: Numbers = {f"{name}.rss": max(frames, default=0)}
    for which, run in (("bare", bare), ("guest", guest)):
        numbers[f"{name}.{which}"] = run.between("kernel", MARK_INIT)
    return numbers, exits[1] if exits else ""


def work(bench: Bench) -> tuple[Numbers, str]:
    """All programs in one boot; a guest's frames are filled by the first one, work.touch.first."""
    words = "rdinit=/work -- all"
    bare, guest = bench.bare(words), bench.guest(bench.section("linux", words))
    numbers: Numbers = {}
    for name in (name for name in MARKS if name.startswith("work.")):
        numbers |= {f"{name}.bare": bare.work(name), f"{name}.guest": guest.work(name)}
    return numbers, ""


def disk(bench: Bench) -> tuple[Numbers, str]:
    return devices(bench, "virtio.blk.read", bench.section("linux", "bench=disk", "disk = \\disk.img"))


def net(bench: Bench) -> tuple[Numbers, str]:
    """Both VMs' instructions and ours."""
    vms = [bench.section(name, f"bench={name}", "net = lan", memory=128) for name in ("server", "client")]
    return devices(bench, "virtio.net.roundtrip", "[caisson]\nrun = together\n", *vms)


def devices(bench: Bench, name: str, *sections: str) -> tuple[Numbers, str]:
    return {name: round(bench.guest(*sections).work(name) / TIMES[name], 1)}, ""


JOBS = {"boot": boot, "work": work, "disk": disk, "net": net}


def once(bench: Bench, job: str) -> tuple[Numbers, str]:
    return JOBS[job](bench)


def twice(bench: Bench, job: str) -> tuple[Numbers, str]:
    first, second = once(bench, job), once(bench, job)
    if first != second:
        different = [name for name in first[0] if first[0][name] != second[0].get(name)] or ["the exits"]
        values = ", ".join(f"{name} {first[0].get(name)} and {second[0].get(name)}" for name in different)
        raise BenchError(f"{bench.isa.rig}: two runs differ: {values}")
    return first


def measure(isa: Isa, jobs: list[str], how: "Callable[[Bench, str], tuple[Numbers, str]]") -> tuple[Numbers, str]:
    with tempfile.TemporaryDirectory(prefix="bench-linux.") as name, ThreadPoolExecutor(WORKERS) as pool:
        bench = Bench(isa, Path(name))
        results = list(pool.map(lambda job: how(bench, job), jobs))
    numbers = {name: value for found, _ in results for name, value in found.items()}
    for name in [name.removesuffix(".bare") for name in numbers if name.endswith(".bare")]:
        numbers[name] = round(numbers[f"{name}.guest"] / numbers[f"{name}.bare"], 4)
    return numbers, "".join(exits for _, exits in results)


# ---- judging and showing ----


def limit(name: str) -> "float | None":
    return LIMITS.get("linux" if name in (f"linux.{isa}" for isa in ISAS) else name)


def complaints(rig: str, numbers: Numbers, known_is_right: bool) -> list[str]:
    found = [f"{rig}: {name} is {value}, which cannot be" for name, value in numbers.items() if value <= 0]
    for name, value in numbers.items():
        most, known = limit(name), KNOWN.get((rig, name))
        if most is None:
            continue
        if known is not None and value <= most:
            found.append(f"{rig}: {name} is {value:.4f} now, within its limit: strike out what was known of it")
        elif value > most and not (known_is_right and known is not None and value <= known):
            beside = f" (known: {known})" if known is not None else ""
            found.append(f"{rig}: {name} is {value:.4f}, above its limit of {most}{beside}")
    return found


def unit(name: str, value: "int | float") -> str:
    if name.endswith(".rss"):
        return "frames"
    return "ratio" if isinstance(value, float) and not name.startswith("virtio") else "instructions"


def table(rig: str, numbers: Numbers, exits: str) -> str:
    lines = [f"{rig:<24}{'bare':>16}{'guest':>16}{'ratio':>10}{'limit':>8}"]
    for name in [name for name in numbers if f"{name}.bare" in numbers]:
        value, most = numbers[name], limit(name)
        over = "*" if most is not None and value > most else " "
        both = f"{numbers[f'{name}.bare']:>16,}{numbers[f'{name}.guest']:>16,}"
        lines.append(f"{name:<24}{both}{value:>10.4f}{'' if most is None else most:>8} {over}".rstrip())
    for name in [name for name in numbers if name.endswith(".rss") or name.startswith("virtio")]:
        lines.append(f"{name:<24}{'':>16}{numbers[name]:>16,} {unit(name, numbers[name])}")
    return "\n".join([*lines, *([f"exits until init's first line: {exits}"] if exits else [])])


def main() -> int:
    parser = argparse.ArgumentParser(description="Counts what Debian's kernel costs as a guest, beside the same bare.")
    parser.add_argument("isa", nargs="*", metavar="ISA", help=f"{' or '.join(ISAS)}; both without one")
    parser.add_argument("--job", action="append", choices=JOBS, help="only this; may be given more than once")
    parser.add_argument("--once", action="store_true", help="no second run to compare with")
    parser.add_argument("--check", action="store_true", help="what is known to be above its limit is right")
    options = parser.parse_args()
    if unknown := [isa for isa in options.isa if isa not in ISAS]:
        parser.error(f"{unknown[0]}: one of {' '.join(ISAS)}")
    found = []
    for isa in [ISAS[name] for name in options.isa or ISAS]:
        try:
            numbers, exits = measure(isa, options.job or list(JOBS), once if options.once else twice)
        except BenchError as error:
            print(f"bench_linux.py: {error}", file=sys.stderr)
            return 1
        print(table(isa.rig, numbers, exits), end="\n\n", flush=True)
        path = write_json([(isa.rig, name, unit(name, value), value) for name, value in numbers.items()])
        found += complaints(isa.rig, numbers, options.check)
    print(f"instructions{'' if options.once else ', the same in two runs'}; * above its limit")
    print(f"also in {path.relative_to(TOP)}")
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
