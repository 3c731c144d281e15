#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What Debian's cloud kernel costs as a guest, beside the same kernel bare, in instructions: `make bench-linux`.

On QEMU TCG with -icount, every run twice; the two must agree exactly. What counts is what the machine executes, whoever
executes it (tests/bench/count_plugin.c), and not its time: waiting costs nothing. Prints a table and, in
build/bench.json, replaces the rows `linux.*`, `work.*` and `virtio.*`. Fails if two runs differ, a number is missing or
one is above its limit; with --check, only if it is also above what is known of it.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bench import BUILD, TOP, BenchError, write_json
from rig_emulators import Options, bare_linux

TIMEOUT = 900
MEMORY = 512  # MiB, of the bare machine and of the guest
FRAME_KIB = 4
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
TIMES = {"virtio.blk.read": 2000, "virtio.net.roundtrip": 1000}

# Most that a guest may execute for each instruction of the bare kernel, and what it is known to execute where that is
# more: it shall not get worse.
LIMITS = {
    "linux": 1.03,
    "work.sha256": 1.005,
    "work.fork": 1.03,
    "work.touch": 1.10,
    "work.pipe": 1.02,
}
KNOWN: dict[tuple[str, str], float] = {}

# Run by mkinitrd.py's init, where the machine has devices that need modules.
SCRIPT = f"""\
eval "$(tr ' ' '\\n' </proc/cmdline | grep '^bench=')"
case $bench in
disk)
	/work disk ;;
server)
	ip addr add {SERVER}/24 dev eth0
	ip link set eth0 up
	exec sleep 1000000 ;;
client)
	ip addr add {CLIENT}/24 dev eth0
	ip link set eth0 up
	echo 0 0 >/proc/sys/net/ipv4/ping_group_range
	until ping -c 1 -W 1 {SERVER} >/dev/null; do :; done
	/work ping {SERVER} ;;
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

    def landmark(self, kernel: bytes) -> bytes:
        """An instruction near the kernel's first that it has once, and passes both bare and as a guest."""
        if self.name == "arm64":
            return kernel[:4]  # the Image's first word: "MZ", and an instruction at once
        startup_64 = (kernel[0x1F1] + 1) * 512 + 0x200  # Linux Documentation/arch/x86/boot.rst
        found = kernel[startup_64 + 14 :][:7]
        if found[:3] != b"\x48\x8d\x2d":
            raise BenchError("the kernel's startup_64 is another one: no LEA relative to RIP behind the segments")
        return found


ISAS = {"x86": Isa("x86", "x86_64", "svm", "amd64", "ttyS0"), "arm64": Isa("arm64", "aarch64", "el2", "arm64", "ttyAMA0")}


@dataclass
class Run:
    """What a run told."""

    log: str
    counts: dict[str, int] = field(default_factory=dict)  # mark -> instructions since the machine's reset

    def between(self, start: "str | int", end: int) -> int:
        try:
            return self.counts[str(end)] - self.counts[str(start)]
        except KeyError as missing:
            tail = "\n".join(self.log.splitlines()[-15:])
            raise BenchError(f"the run did not pass mark {missing}:\n{tail}") from None

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
        paths = ["kernel = \\vmlinuz", "initrd = \\initrd"]
        return "\n".join([f"[vm {name}]", *paths, f"memory = {memory}M", f"cmdline = {self.words(words)}", *keys, ""])


def call(command: "list[str | Path]") -> str:
    """A program's output, if it ended well."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=TIMEOUT + 60)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{command[0]} took longer than {TIMEOUT} seconds") from None
    output = done.stdout.decode(errors="replace").replace("\r", "")
    if done.returncode != 0:
        tail = "\n".join([*output.splitlines()[-20:], done.stderr.decode(errors="replace")])
        raise BenchError(f"{' '.join(map(str, command))}: ended with status {done.returncode}\n{tail}")
    return output


def finished(log: str, counts: Path) -> Run:
    return Run(log, {name: int(count) for name, count in re.findall(r"^mark (\w+) (\d+)$", counts.read_text(), re.M)})


# ---- what is measured ----

Numbers = dict[str, "int | float"]  # name -> value; "NAME.bare", "NAME.guest" and their ratio as NAME


def boot(bench: Bench) -> tuple[Numbers, str]:
    """To init's first line, after which it turns the machine off; and what the guest's exits were."""
    bare, guest = bench.bare("rdinit=/work"), bench.guest(bench.section("linux", "rdinit=/work"))
    name = f"linux.{bench.isa.name}"
    frames = [int(count) for count in re.findall(r"\] mm: .* ([0-9]+) guest$", guest.log, re.M)]
    exits = re.search(r"\] vm linux: exits: (.*)$", guest.log, re.M)
    numbers: Numbers = {f"{name}.{which}": run.between("kernel", MARK_INIT) for which, run in (("bare", bare), ("guest", guest))}
    numbers[f"{name}.rss"] = max(frames, default=0)
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


def twice(bench: Bench, job: str) -> tuple[Numbers, str]:
    first, second = JOBS[job](bench), JOBS[job](bench)
    different = [f"{name} {value} and {second[0].get(name)}" for name, value in first[0].items() if value != second[0].get(name)]
    if different:
        raise BenchError(f"{bench.isa.rig}: two runs differ: {', '.join(different)}")
    return first


def measure(isa: Isa, jobs: list[str], runs: int) -> tuple[Numbers, str]:
    numbers: Numbers = {}
    with tempfile.TemporaryDirectory(prefix="bench-linux.") as name, ThreadPoolExecutor(2) as pool:
        bench = Bench(isa, Path(name))
        results = list(pool.map(lambda job: twice(bench, job) if runs > 1 else JOBS[job](bench), jobs))
    for found, _ in results:
        numbers |= found
    for name in [name.removesuffix(".bare") for name in numbers if name.endswith(".bare")]:
        numbers[name] = round(numbers[f"{name}.guest"] / numbers[f"{name}.bare"], 4)
    return numbers, "".join(exits for _, exits in results)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("isa", nargs="*", choices=[*ISAS, []], help="which; all without one")
    parser.add_argument("--job", action="append", choices=JOBS, help="what; all without this")
    parser.add_argument("--once", action="store_true", help="no second run")
    options = parser.parse_args()
    for isa in options.isa or ISAS:
        numbers, exits = measure(ISAS[isa], options.job or list(JOBS), 1 if options.once else 2)
        for name, value in sorted(numbers.items()):
            print(f"{name:<30}{value:>16,}")
        print(exits)
    return 0


if __name__ == "__main__":
    sys.exit(main())
