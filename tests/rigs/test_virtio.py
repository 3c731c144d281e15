# SPDX-License-Identifier: Apache-2.0
"""Virtio devices under Debian's own kernels and their own drivers: disks, console, entropy, network."""

import hashlib
import random
import re
import tempfile
from functools import partial
from pathlib import Path
from typing import Iterator

from harness import STAMP, TOP, Boot, Failure, Files, Test, absent, boot, came_back, equal, fetched, find
from harness import isa_of, run_logged, vm

PROMPT = "^guest# "
IMAGE_BYTES = (4 << 20) + 1000  # no whole number of sectors
SECTOR = 512
PATCH_BYTES = 1 << 20
WRONG = r"Call [Tt]race|WARNING:|BUG:|Oops|unchecked MSR access|clocksource.*unstable|needs a reset"
DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}
UART = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}


def package(rig: str, name: str) -> Path:
    return fetched(name, ".", DEBIAN[isa_of(rig)])


def linux_files(rig: str, script: str = "") -> Files:
    """Kernel, initial RAM disk (which runs `script`) and a disk image of bytes that nobody would guess."""
    kernel = package(rig, f"linux-image-cloud-{DEBIAN[isa_of(rig)]}")
    command = [TOP / "tools/mkinitrd.py", "--busybox", package(rig, "busybox-static"), "--kernel", kernel]
    with tempfile.TemporaryDirectory(prefix="caisson-initrd.") as directory:
        initrd, source = Path(directory) / "initrd", Path(directory) / "script"
        source.write_text(script)
        status, output = run_logged([*command, "--output", initrd, "--script", source], timeout=60)
        if status != 0:
            raise Failure(f"mkinitrd.py failed: {output.strip()}")
        contents = initrd.read_bytes()
    image = random.Random(1).randbytes(IMAGE_BYTES)
    return {"vmlinuz": next(kernel.glob("boot/vmlinuz-*")), "initrd": contents, "disk.img": image}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def linux(name: str, console: str, keys: str = "", words: str = "") -> str:
    cmdline = f"console={console} panic=-1 {words}"
    return vm(name, r"\vmlinuz", initrd=r"\initrd", cmdline=cmdline, memory="128M") + keys


def type_line(machine: Boot, text: str) -> None:
    """One command; the first line of its echo is passed over."""
    machine.send(text + "\n")
    machine.expect("\n")


def disks(rig: str, options: tuple[str, ...]) -> None:
    files = linux_files(rig)
    image = files["disk.img"]
    assert isinstance(image, bytes)
    padded = image + bytes(-len(image) % SECTOR)
    keys = "disk = \\disk.img\ndisk = \\disk.img readonly\nnet = lan\n"
    # Then the seed from the loader is all that it can start its generator with.
    conf = linux("linux", UART[isa_of(rig)], keys, "random.trust_cpu=off")
    with boot(rig, *options, conf=conf, volume=files, timeout=300) as machine:
        machine.expect(PROMPT)
        type_line(machine, "dmesg | grep -E 'crng init done|KASLR'")
        machine.expect(r"\[    0\.000000\] random: crng init done")
        if isa_of(rig) == "aarch64":
            machine.expect("KASLR enabled")
        type_line(machine, "sha256sum /dev/vda")
        machine.expect(sha256(padded))
        type_line(machine, "dd if=/dev/vdb bs=64k | sha256sum")
        machine.expect(sha256(padded))
        # Written past the page cache and read back past it.
        patch = f"dd if=/dev/vdb of=/dev/vda bs={PATCH_BYTES} seek=1 count=1 oflag=direct"
        type_line(machine, patch + "; sync; echo 3 >/proc/sys/vm/drop_caches; sha256sum /dev/vda /dev/vdb")
        changed = padded[:PATCH_BYTES] + padded[:PATCH_BYTES] + padded[2 * PATCH_BYTES :]
        machine.expect(sha256(changed) + "  /dev/vda")
        machine.expect(sha256(padded) + "  /dev/vdb")
        type_line(machine, "dd if=/dev/zero of=/dev/vdb count=1")
        machine.expect("Operation not permitted")
        draw = "dd if=/dev/hwrng bs=16 count=1 2>/dev/null | hexdump -v -e '\"%08x\"'; echo"
        type_line(machine, f"{draw}; {draw}")
        first, second = machine.expect("^([0-9a-f]{32})$")[1], machine.expect("^([0-9a-f]{32})$")[1]
        if first == second:
            raise Failure("the entropy device repeats itself")
        type_line(machine, "ip link show eth0")
        machine.expect("link/ether 02:")
        type_line(machine, "grep virtio /proc/interrupts; dmesg")
        machine.expect(PROMPT)
        type_line(machine, "poweroff -f")
        equal("the exit status", machine.end(), 0)
    absent(WRONG, machine.log)
    find(rf"{STAMP}vm linux: ended: turned itself off; [0-9]+ lazy faults filled", machine.log)
    came_back("linux", machine.log)


def console(rig: str) -> None:
    """Both ways, with more input than the driver has buffers of a byte for."""
    line = "0123456789" * 40
    conf = linux("linux", "hvc0", "console = virtio\n")
    with boot(rig, conf=conf, volume=linux_files(rig), timeout=240) as machine:
        machine.expect(PROMPT)
        type_line(machine, "cat /sys/class/tty/console/active")
        machine.expect("^hvc0$")
        machine.send(f"x={line}; echo $((${{#x}} * 3))\n")
        machine.expect(f"^{len(line) * 3}$")
        type_line(machine, "seq 10000 12000 | sha256sum; seq 10000 12000")
        told = machine.expect("^([0-9a-f]{64})  -$")[1]
        machine.expect("^10000$")
        machine.expect("^12000$")
        machine.send("poweroff -f\n")
        equal("the exit status", machine.end(), 0)
    shown = "".join(f"{number}\n" for number in range(10000, 12001))
    equal("the checksum of what was shown", told, sha256(shown.encode()))
    if shown not in machine.log:
        raise Failure("the console lost or changed something of what was shown")
    absent(WRONG, machine.log)
    came_back("linux", machine.log)


def restart(rig: str) -> None:
    """A reset is the VM's own affair: it starts anew, its clock goes on, and its disk is as it left it."""
    keys = "disk = \\disk.img\n"
    with boot(rig, conf=linux("linux", UART[isa_of(rig)], keys), volume=linux_files(rig), timeout=240) as machine:
        machine.expect(PROMPT)
        type_line(machine, "dd if=/dev/urandom of=/dev/vda bs=64k seek=3 count=2; sha256sum /dev/vda; sync")
        written = machine.expect("^([0-9a-f]{64})  /dev/vda$")[1]
        type_line(machine, "a=$(date +%s); sleep 5; echo slept $(($(date +%s) - a))")
        slept = int(machine.expect("^slept ([0-9]+)$")[1])
        if slept not in (5, 6):  # whole seconds: the sleep may have begun late in one
            raise Failure(f"5 seconds of sleep took {slept}")
        type_line(machine, "reboot -f")
        machine.expect(rf"{STAMP}vm linux: restarts: asked for a reset")
        machine.expect(PROMPT)
        type_line(machine, "sha256sum /dev/vda")
        equal("what the disk holds after the restart", machine.expect("^([0-9a-f]{64})  /dev/vda$")[1], written)
        machine.send("poweroff -f\n")
        equal("the exit status", machine.end(), 0)
    absent(WRONG, machine.log)
    find(rf"{STAMP}vm linux: every frame came back but the 34 of its disks", machine.log)
    came_back("linux", machine.log)


# The server's nc must not see the end of its input, for it would hang up.
NETWORK = """\
eval "$(tr ' ' '\\n' </proc/cmdline | grep -E '^(own|peer)=')"
ip addr add $own/24 dev eth0
ip link set eth0 up
if [ -z "$peer" ]; then
	mkfifo /tmp/open
	exec 3<>/tmp/open
	nc -l -p 99 <&3 >/tmp/data
	echo "server got $(sha256sum </tmp/data)"
else
	until ping -c 1 -W 1 $peer >/dev/null; do :; done
	ping -c 10 -i 0.2 $peer
	ping -c 3 -s 20000 $peer
	dd if=/dev/urandom of=/tmp/data bs=1M count=8 2>/dev/null
	echo "client sends $(sha256sum </tmp/data)"
	nc $peer 99 </tmp/data
fi
ifconfig eth0
poweroff -f
"""


def network(rig: str) -> None:
    """Two VMs at once; that the server's checksum is the client's says that every frame came, or came again."""
    uart = UART[isa_of(rig)]
    keys = "net = lan\n"
    conf = "[caisson]\nrun = together\n"
    conf += linux("server", uart, keys, "own=10.0.0.1")
    conf += linux("client", uart, keys, "own=10.0.0.2 peer=10.0.0.1")
    with boot(rig, conf=conf, volume=linux_files(rig, NETWORK), timeout=400) as machine:
        equal("the exit status", machine.end(), 0)
    find(r"client\| 10 packets transmitted, 10 packets received, 0% packet loss", machine.log)
    find(r"client\| 3 packets transmitted, 3 packets received, 0% packet loss", machine.log)
    sent = find(r"client\| client sends ([0-9a-f]{64})  -", machine.log)[1]
    equal("the checksum of what the server got", find(r"server\| server got ([0-9a-f]{64})  -", machine.log)[1], sent)
    absent(WRONG, machine.log)
    counts = re.findall("net: [0-9]+ frames sent, ([0-9]+) received, ([0-9]+) dropped", machine.log)
    received, dropped = (sum(map(int, column)) for column in zip(*counts))
    if len(counts) != 2 or dropped * 1000 > received:  # both may be out of buffers at once, and one must give in
        raise Failure(f"{dropped} frames were dropped, and {received} received")
    for name in ("server", "client"):
        find(rf"{STAMP}vm {name}: every frame came back: [0-9]+ free", machine.log)


def tests() -> Iterator[Test]:
    for rig, options, seconds in (
        ("el2", (), 30),
        ("el2", ("--gic", "2", "--cpu", "cortex-a72"), 30),
        ("svm", (), 45),
    ):
        name = " ".join([rig, *(option.removeprefix("--") for option in options)])
        yield Test(f"{name}: Linux reads and writes disks and draws randomness", partial(disks, rig, options), seconds)
    for rig, seconds in (("el2", 40), ("svm", 60)):
        yield Test(f"{rig}: two Linux VMs at once ping each other and carry 8 MiB", partial(network, rig), seconds)
    for rig, seconds in (("el2", 30), ("svm", 35)):
        yield Test(f"{rig}: Linux sleeps as long as it should, reboots and boots again", partial(restart, rig), seconds)
    yield Test("el2: Linux's console is virtio's, both ways", partial(console, "el2"), 25)
