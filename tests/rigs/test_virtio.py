# SPDX-License-Identifier: Apache-2.0
"""Virtio devices under Debian's own kernel and its own drivers, on Arm: disks, console, entropy, network."""

import hashlib
import random
from functools import partial
from pathlib import Path
from typing import Iterator

from harness import BUILD, STAMP, TOP, Boot, Failure, Files, Test, absent, boot, came_back, equal, fetched, find
from harness import run_logged, vm

PROMPT = "^guest# "
IMAGE_BYTES = (4 << 20) + 1000  # no whole number of sectors
SECTOR = 512
PATCH_BYTES = 1 << 20
WRONG = r"Call trace|WARNING:|BUG:|Oops|needs a reset"


def package(name: str) -> Path:
    return fetched(name, ".", "arm64")


def linux_files() -> Files:
    """Kernel, initial RAM disk and a disk image of bytes that nobody would guess."""
    kernel = package("linux-image-cloud-arm64")
    initrd = BUILD / "tests/initrd-arm64"
    command = [TOP / "tools/mkinitrd.py", "--busybox", package("busybox-static"), "--kernel", kernel, "--output", initrd]
    status, output = run_logged(command, timeout=60)
    if status != 0:
        raise Failure(f"mkinitrd.py failed: {output.strip()}")
    image = random.Random(1).randbytes(IMAGE_BYTES)
    return {"vmlinuz": next(kernel.glob("boot/vmlinuz-*")), "initrd": initrd, "disk.img": image}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def linux(name: str, console: str, keys: str = "") -> str:
    cmdline = f"console={console} panic=-1"
    return vm(name, r"\vmlinuz", initrd=r"\initrd", cmdline=cmdline, memory="128M") + keys


def type_line(machine: Boot, text: str) -> None:
    """One command; the first line of its echo is passed over."""
    machine.send(text + "\n")
    machine.expect("\n")


def disks(options: tuple[str, ...]) -> None:
    files = linux_files()
    image = files["disk.img"]
    assert isinstance(image, bytes)
    padded = image + bytes(-len(image) % SECTOR)
    keys = "disk = \\disk.img\ndisk = \\disk.img readonly\nnet = lan\n"
    with boot("el2", *options, conf=linux("linux", "ttyAMA0", keys), volume=files, timeout=180) as machine:
        machine.expect(PROMPT)
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
        type_line(machine, "for i in 1 2; do dd if=/dev/hwrng bs=16 count=1 2>/dev/null | hexdump -v -e '\"%08x\"'; echo; done")
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


def console() -> None:
    """Both ways, with more input than the driver has buffers of a byte for."""
    line = "0123456789" * 40
    with boot("el2", conf=linux("linux", "hvc0", "console = virtio\n"), volume=linux_files(), timeout=120) as machine:
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


def tests() -> Iterator[Test]:
    for options in ((), ("--gic", "2", "--cpu", "cortex-a72")):
        name = " ".join(["el2", *(option.removeprefix("--") for option in options)])
        yield Test(f"{name}: Linux reads and writes disks and draws randomness", partial(disks, options), 30)
    yield Test("el2: Linux's console is virtio's, both ways", console, 25)
