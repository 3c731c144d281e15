# SPDX-License-Identifier: Apache-2.0
"""Debian's own kernels, unchanged: from their first line to power off, what their log says, time and memory."""

import random
import re
import time
from functools import partial
from typing import Iterator

from harness import STAMP, TOGETHER, Boot, Failure, Files, Test, absent, boot, came_back, equal, find, isa_of, run
from linux_guest import PROMPT, WRONG, answer, linux, linux_files, sha256, type_line

IMAGE_BYTES = (4 << 20) + 1000  # no whole number of sectors
SECTOR = 512
PATCH_BYTES = 1 << 20
MIB = 1 << 20
MEASURES = 10  # at most
# Of a machine so busy that the guest's timer stood still for seconds: the kernel then leaves one comparison out.
EXCUSED = "clocksource: Long readout interval, skipping watchdog check"
TIME_APART = 60  # seconds that the guest's time of day may be away from ours: the firmware started long ago

# Seconds turn over in the clock, a sleep, they turn over again: the clock's times of day, and the uptime at each step.
CLOCK = """\
turn() {
	read _ _ before </proc/driver/rtc
	now=$before
	while [ $now = $before ]; do read _ _ now </proc/driver/rtc; done
	read up _ </proc/uptime
}
turn
first=$now first_up=$up
read asleep _ </proc/uptime
sleep 5
read awake _ </proc/uptime
turn
echo clock $first $first_up $asleep $awake $now $up
"""
# What the kernel logged as a warning or worse, of how many lines, the first of which must still be there.
LOG = """\
dmesg -r | awk -F '[<>]' '$2 % 8 < 5 { print "log: " $0 } END { print "lines: " NR }'
dmesg | head -n 1
"""
FILL = """\
mount -t tmpfs -o size=100% none /mnt
dd if=/dev/urandom of=/mnt/data bs=1M count=$1
sync
echo 3 >/proc/sys/vm/drop_caches
echo "$(sha256sum </mnt/data)" "$(sha256sum </mnt/data)"
"""
TOOLS = {"clock": CLOCK, "log": LOG, "fill": FILL}


# ---- one guest and everything that it should do ----


def check_identity(machine: Boot, rig: str, flavour: str) -> None:
    """uname, the interrupts' counts, and a console that works by interrupts."""
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[isa_of(rig)]
    release = rf"6\.1\.0-[0-9]+-{'cloud-' if flavour == 'cloud' else ''}{architecture}"
    find(rf"Linux \S+ {release} .* {isa_of(rig)} GNU/Linux", answer(machine, "uname -a"))
    uart = "ttyS0" if isa_of(rig) == "x86_64" else "uart-pl011"

    def counts() -> dict[str, int]:
        rows = re.findall(r"^ *(\S+): +([0-9]+) .*?(\S+)$", answer(machine, "cat /proc/interrupts"), re.MULTILINE)
        return {name: int(count) for _, count, name in rows}

    before, after = counts(), counts()
    for name in (uart, "virtio0"):
        if before.get(name, 0) == 0:
            raise Failure(f"no interrupt of {name} came")
    if after[uart] <= before[uart]:
        raise Failure("the console took a line without an interrupt")


def check_memory(machine: Boot, rig: str, mib: int) -> None:
    """All that is configured is there, where it should be, and but for kernel and page table it is free."""
    said = answer(machine, "dmesg | grep -E 'BIOS-e820|  node   0:|Memory: |x86/PAT'")
    if isa_of(rig) == "x86_64":
        table = re.findall(r"BIOS-e820: \[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\] (\w+)", said)
        regions = [(int(start, 16), int(end, 16) + 1, kind) for start, end, kind in table]
        low = [(0, 0x9FC00, "usable"), (0x9FC00, 0x100000, "reserved"), (0x100000, mib * MIB, "usable")]
        equal("the e820 table", regions, low)
        find(r".*x86/PAT: Configuration \[0-7\]: WB  WC  UC- UC  WB  WP  UC- WT *", said)  # as it sets it on a PC
    else:
        nodes = re.findall(r"node   0: \[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\]", said)
        equal("the memory", [(int(a, 16), int(b, 16) + 1) for a, b in nodes], [(1 << 30, (1 << 30) + mib * MIB)])
    known = int(re.findall(r"Memory: [0-9]+K/([0-9]+)K available", said)[0])
    total = int(re.findall(r"^Mem: +([0-9]+)", answer(machine, "free"), re.MULTILINE)[0])
    if not (mib * 1024 - 1024 < known <= mib * 1024 and known * 0.85 < total < known):
        raise Failure(f"of {mib} MiB it knows {known} KiB and has {total} KiB in all")


def slept(machine: Boot) -> float:
    """Seconds that `sleep 5` took by the RTC, whose seconds are as fine as the moments at which they turn over."""
    said = find(r"clock (\S+) (\S+) (\S+) (\S+) (\S+) (\S+)", answer(machine, "sh /clock"))
    clocks = ([int(part) for part in said[n].split(":")] for n in (1, 5))
    first, last = (3600 * hours + 60 * minutes + seconds for hours, minutes, seconds in clocks)
    start, asleep, awake, end = (float(said[n]) for n in (2, 3, 4, 6))
    return (awake - asleep) * ((last - first) % 86400) / (end - start)


def check_clock(machine: Boot) -> None:
    """Where this machine's CPUs are busy a guest wakes late, or sees a second late; a clock that is wrong always is."""
    offset = int(answer(machine, "date +%s")) - time.time()
    if abs(offset) > TIME_APART:
        raise Failure(f"its time of day is {offset:.0f} seconds off")
    measures: list[float] = []
    while not measures or abs(measures[-1] - 5) > 0.1:
        if len(measures) == MEASURES:
            raise Failure(f"5 seconds of sleep took {measures} by the RTC")
        measures.append(slept(machine))


def check_log(machine: Boot) -> None:
    said = answer(machine, "sh /log")
    if int(find("lines: ([0-9]+)", said)[1]) < 150 or "Linux version" not in said and "Booting Linux" not in said:
        raise Failure("that is not the whole log of the kernel")
    absent(f"^log: (?!.*{EXCUSED}).*", said)


def check_disks(machine: Boot, padded: bytes) -> bytes:
    """vda is a private copy of the image, vdb the same image and read-only. Returns what vda holds in the end."""
    type_line(machine, "sha256sum /dev/vda; dd if=/dev/vdb bs=64k | sha256sum")
    machine.expect(sha256(padded))
    machine.expect(sha256(padded))
    # Written past the page cache and read back past it.
    patch = f"dd if=/dev/vdb of=/dev/vda bs={PATCH_BYTES} seek=1 count=1 oflag=direct"
    type_line(machine, patch + "; sync; echo 3 >/proc/sys/vm/drop_caches; sha256sum /dev/vda /dev/vdb")
    changed = padded[:PATCH_BYTES] + padded[:PATCH_BYTES] + padded[2 * PATCH_BYTES :]
    machine.expect(sha256(changed) + "  /dev/vda")
    machine.expect(sha256(padded) + "  /dev/vdb")
    type_line(machine, "dd if=/dev/zero of=/dev/vdb count=1")
    machine.expect("Operation not permitted")
    machine.expect(PROMPT)
    return changed


def check_entropy(machine: Boot, rig: str) -> None:
    """The loader's seed is all that its generator can start with, for it does not trust the CPU; then the device's."""
    said = answer(machine, "dmesg | grep -E 'crng init done|KASLR'")
    find(r"\[    0\.[0-9]{6}\] random: crng init done", said)
    if isa_of(rig) == "aarch64":
        find(r".* KASLR enabled", said)
    draw = "dd if=/dev/hwrng bs=16 count=1 2>/dev/null | hexdump -v -e '\"%08x\"'; echo"
    first, second = re.findall("^([0-9a-f]{32})$", answer(machine, f"{draw}; {draw}"), re.MULTILINE)
    if first == second:
        raise Failure("the entropy device repeats itself")


def life(rig: str, flavour: str, options: tuple[str, ...]) -> None:
    mib = 512
    image = random.Random(1).randbytes(IMAGE_BYTES)
    padded = image + bytes(-len(image) % SECTOR)
    files: Files = linux_files(rig, flavour=flavour, tools=TOOLS) | {"disk.img": image}
    keys = "disk = \\disk.img\ndisk = \\disk.img readonly\nnet = lan\n"
    conf = linux(rig, "linux", keys, f"{mib}M", "random.trust_cpu=off")
    with boot(rig, *options, conf=conf, volume=files, timeout=400) as machine:
        machine.expect(PROMPT)
        check_identity(machine, rig, flavour)
        check_memory(machine, rig, mib)
        changed = check_disks(machine, padded)
        check_entropy(machine, rig)
        find(" +link/ether 02:.*", answer(machine, "ip link show eth0"))
        check_clock(machine)
        check_log(machine)
        machine.send("reboot\n")
        machine.expect(rf"{STAMP}vm linux: restarts: asked for a reset")
        machine.expect(PROMPT)
        type_line(machine, "sha256sum /dev/vda")  # its disks are the VM's, whatever becomes of its memory
        machine.expect(sha256(changed))
        machine.send("poweroff\n")
        equal("the exit status", machine.end(), 0)
    absent(WRONG, machine.log)
    find(rf"{STAMP}vm linux: ended: turned itself off; [0-9]+ lazy faults filled", machine.log)
    came_back("linux", machine.log)
    find(rf"{STAMP}vm linux: every frame came back but the [0-9]+ of its disks", machine.log)


# ---- little memory ----


def in_turn(rig: str) -> None:
    """Two guests of 160 MiB have a machine of 256 one after the other, and use what they were given."""
    files = linux_files(rig, "sh /fill 80\npoweroff -f\n", tools=TOOLS)
    conf = "".join(linux(rig, name, memory="160M") for name in ("one", "two"))
    machine = run(rig, "--mem", "256M", conf=conf, volume=files, timeout=300)
    equal("the exit status", machine.status, 0)
    absent(WRONG, machine.log)
    sums = re.findall("^([0-9a-f]{64})  - ([0-9a-f]{64})  -$", machine.log, re.MULTILINE)
    equal("how many filled their memory", len(sums), 2)
    for first, second in sums:
        equal("the checksum of what was written", second, first)
    for name in ("one", "two"):
        held = int(find(rf"{STAMP}vm {name}: held at most ([0-9]+) frames of [0-9]+", machine.log)[1])
        if held < 120 * MIB / 4096:
            raise Failure(f"{name} held at most {held} frames: that is not what this test is for")
    equal("free frames after each", came_back("one", machine.log), came_back("two", machine.log))


def out_of_memory(rig: str) -> None:
    """Two guests want more than there is: the one that asks last is stopped, the other keeps its own and gets more."""
    files = linux_files(rig, tools=TOOLS)
    conf = TOGETHER + linux(rig, "greedy", memory="240M") + linux(rig, "modest", memory="160M", words="quiet")
    with boot(rig, "--mem", "320M", conf=conf, volume=files, timeout=300) as machine:
        machine.expect(r"^(greedy|modest)\| guest# ")
        machine.expect(r"^(greedy|modest)\| guest# ")
        machine.send("\1\1\1\n")
        machine.expect("input goes to vm modest")
        machine.send("sh /fill 20\n")
        machine.expect("^modest[|] ([0-9a-f]{64})  - ([0-9a-f]{64})  -$")
        machine.send("\1\1\1\n")
        machine.expect("input goes to vm greedy")
        machine.send("sh /fill 180\n")
        machine.expect(rf"{STAMP}vm greedy: stopped: out of memory: .*: write of GPA 0x[0-9a-f]+; [0-9]+ frames are")
        machine.expect(rf"{STAMP}vm greedy: every frame came back: [0-9]+ free")
        machine.send("sh /fill 40; poweroff\n")
        equal("the exit status", machine.end(), 1)
    absent(WRONG, machine.log)
    find(rf"{STAMP}vm modest: ended: turned itself off; .*", machine.log)
    sums = re.findall(r"^modest\| ([0-9a-f]{64})  - ([0-9a-f]{64})  -$", machine.log, re.MULTILINE)
    equal("how often it filled its memory", len(sums), 2)
    for first, second in sums:
        equal("the checksum of what was written", second, first)


def tests() -> Iterator[Test]:
    for rig, flavour, options, seconds in (
        ("svm", "cloud", (), 40),
        ("svm", "full", (), 45),
        ("el2", "cloud", (), 40),
        ("el2", "full", (), 45),
        ("el2", "cloud", ("--gic", "2", "--cpu", "cortex-a72"), 40),
        ("el2", "cloud", ("--cpu", "neoverse-n1"), 40),
    ):
        name = " ".join([rig, *(option.removeprefix("--") for option in options)])
        what = f"Debian's {flavour} kernel boots, logs no warning, keeps time, uses disks, reboots, powers off"
        yield Test(f"{name}: {what}", partial(life, rig, flavour, options), seconds)
    for rig in ("svm", "el2"):
        yield Test(f"{rig}: two Linux VMs of 160 MiB run in turn on 256 MiB", partial(in_turn, rig), 30)
        yield Test(f"{rig}: the Linux VM that asks for the last frame is stopped", partial(out_of_memory, rig), 35)
