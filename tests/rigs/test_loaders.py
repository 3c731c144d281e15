# SPDX-License-Identifier: Apache-2.0
"""Formats of kernels that the other tests do not use, and broken images beside good ones."""

import gzip
import struct
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import Iterator

from harness import BUILD, STAMP, Files, Test, absent, boot, came_back, equal, fetched, find, run, vm
from linux_guest import PROMPT, WRONG, linux_files, type_line

WORDS = b"words of a module\0"
MEMTEST_WORDS = "console=ttyS0,115200 nosmp nopause nobench"


def hello_multiboot() -> bytes:
    """Our smallest guest has both headers; as an ELF32 file it is a multiboot kernel."""
    elf = BUILD / "x86_64/guests/hello.elf"
    with tempfile.NamedTemporaryFile() as output:
        subprocess.run(["objcopy", "-O", "elf32-i386", "--strip-all", elf, output.name], check=True)
        return Path(output.name).read_bytes()


def vmlinux(bzimage: bytes) -> bytes:
    """What Debian's bzImage unpacks: an ELF file with a PVH note. Its payload ends with the unpacked size."""
    setup_bytes = (bzimage[0x1F1] + 1) * 512
    offset, size = struct.unpack_from("<II", bzimage, 0x248)
    payload = bzimage[setup_bytes + offset : setup_bytes + offset + size]
    unpacked = subprocess.run(["lz4", "-dc"], input=payload[:-4], stdout=subprocess.PIPE, check=True).stdout
    equal("the unpacked size", len(unpacked), struct.unpack("<I", payload[-4:])[0])
    return unpacked


def check_multiboot(log: str) -> None:
    find(r'multiboot: flags 0x24d, 639 KiB below 1 MiB, 3072 KiB above, loader "caisson", 1 modules', log)
    find(rf'multiboot: module "\\words" of {len(WORDS)} bytes: words of a module', log)
    find(r'hello: a guest on x86_64, 4096 KiB at 0x0, command line "\\hello.mb one two"', log)
    find(rf"{STAMP}vm hello: ended: turned itself off; .*", log)
    came_back("hello", log)


def hello() -> str:
    return vm("hello", r"\hello.mb", initrd=r"\words", cmdline="one two", memory="4M")


def multiboot(rig: str) -> None:
    files: Files = {"hello.mb": hello_multiboot(), "words": WORDS}
    machine = run(rig, conf=hello(), volume=files, timeout=300)
    equal("the exit status", machine.status, 0)
    check_multiboot(machine.log)


def check_refused(log: str, *messages: tuple[str, str]) -> None:
    for name, message in messages:
        find(rf"{STAMP}vm {name}: not started: {message}", log)
        came_back(name, log)


def others() -> None:
    """Debian's Xen comes by multiboot, the 32-bit memtest86+ by the 32-bit entry; broken images do not come at all."""
    memtest = fetched("memtest86+", "boot/memtest86+ia32.bin").read_bytes()
    xen = fetched("xen-hypervisor-4.17-amd64", "boot/xen-4.17-amd64.gz").read_bytes()
    overlapping = bytearray(hello_multiboot())
    struct.pack_into("<I", overlapping, 52 + 32 + 12, 0x100800)  # p_paddr of the second segment
    files: Files = {
        "hello.mb": hello_multiboot(),
        "words": WORDS,
        "cut.bin": memtest[:-1000],
        "overlap.mb": bytes(overlapping),
        "xen.gz": xen,
        "xen.elf": gzip.decompress(xen),
        "memtest.bin": memtest,
    }
    conf = vm("cut", r"\cut.bin") + vm("overlap", r"\overlap.mb") + vm("packed", r"\xen.gz") + hello()
    conf += vm("small", r"\hello.mb", initrd=r"\xen.elf", memory="2M")
    # Without this word it asks the BIOS, which no guest has.
    words = "com1=115200,8n1 console=com1 loglvl=all noreboot no-real-mode"
    conf += vm("xen", r"\xen.elf", initrd=r"\words", memory="128M", cpu_time="5s", cmdline=words)
    conf += vm("memtest", r"\memtest.bin", memory="16M", cmdline=MEMTEST_WORDS)
    with boot("svm", conf=conf, volume=files, timeout=300) as machine:
        machine.expect(rf"{STAMP}vm memtest: started: \\memtest\.bin, 16384 KiB lazy, 1 vCPU")
        machine.expect(r"Memtest86\+ v6\.10 ")
        machine.expect(r"#[0-9]+ +\[")
    check_multiboot(machine.log)
    check_refused(
        machine.log,
        ("cut", r"\\cut\.bin: bzImage is cut off: it has 137712 bytes, its header says [0-9]+; copy it again"),
        ("overlap", r"\\overlap\.mb: segment of [0-9]+ bytes at GPA 0x100800 overlaps another: link it anew"),
        ("packed", r"\\xen\.gz: packed with gzip: unpack it with zcat, and name what comes out"),
        ("small", r"\\hello\.mb: initrd \\xen\.elf: [0-9]+ bytes do not fit between .*: give the VM more memory"),
    )
    find(r"\(XEN\) Bootloader: caisson", machine.log)
    find(rf"\(XEN\) Command line: {words}", machine.log)
    find(r"\(XEN\) Multiboot-e820 RAM map:", machine.log)
    find(r"\(XEN\)  \[0000000000100000, 0000000007ffffff\] \(usable\)", machine.log)


def broken_images() -> None:
    kernel = fetched("linux-image-cloud-arm64", ".", "arm64")
    image = next(Path(kernel).glob("boot/vmlinuz-*")).read_bytes()
    cut = image[: 1 << 20]
    zboot = b"MZ\0\0zimg" + struct.pack("<II", 64, 100)
    pages = bytearray(image)
    pages[24] = 2 << 1  # of 16 KiB, which Cortex-A72 does not have
    files: Files = {"Image.gz": gzip.compress(cut), "zboot": zboot, "Image": image, "cut": cut, "16k": bytes(pages)}
    conf = vm("packed", r"\Image.gz") + vm("zboot", r"\zboot") + vm("pages", r"\16k", memory="128M")
    conf += vm("cut", r"\cut") + vm("small", r"\Image", memory="16M") + vm("good", "builtin:hello")
    machine = run("el2", "--cpu", "cortex-a72", conf=conf, volume=files)
    equal("the exit status", machine.status, 1)
    check_refused(
        machine.log,
        ("pages", r"\\16k: the Image has pages of 16 KiB, and this CPU has none: name one of 4 KiB"),
        ("packed", r"\\Image\.gz: packed with gzip: unpack it with zcat, and name what comes out"),
        ("zboot", r"\\zboot: an EFI zboot image: unpack its 100 bytes from 64 on, and name the Image in there"),
        ("cut", r"\\cut: Image is cut off: it has 1048576 bytes, its header says [0-9]{8}; copy it again"),
        ("small", r"\\Image: Image wants [0-9]+ bytes at GPA 0x40200000: give the VM more memory"),
    )
    find(rf"{STAMP}vm good: ended: turned itself off; .*", machine.log)


def linux_by_pvh() -> None:
    files = linux_files("svm")
    kernel = files.pop("vmlinuz")
    assert isinstance(kernel, Path)
    files["vmlinux"] = vmlinux(kernel.read_bytes())
    conf = vm("linux", r"\vmlinux", initrd=r"\initrd", cmdline="console=ttyS0 panic=-1 by=pvh", memory="160M")
    with boot("svm", conf=conf, volume=files, timeout=300) as machine:
        machine.expect(PROMPT)
        # Linux's own number for this entry, arch/x86/platform/pvh/enlighten.c: 0xb0.
        type_line(machine, "cat /proc/sys/kernel/bootloader_type /proc/cmdline")
        machine.expect("^176$")
        machine.expect("^console=ttyS0 panic=-1 by=pvh$")
        type_line(machine, "dmesg | grep -E 'ACPI: RSDP|BIOS-e820'; dmesg | grep -c 'ioapic'")
        machine.expect(r"BIOS-e820: \[mem 0x000000000009fc00-0x00000000000fffff\] reserved$")
        machine.expect(r"ACPI: RSDP 0x00000000000F0000 ")
        machine.expect(PROMPT)
        machine.send("poweroff -f\n")
        equal("the exit status", machine.end(), 0)
    absent(WRONG, machine.log)
    came_back("linux", machine.log)


def tests() -> Iterator[Test]:
    yield Test("svm: Debian's vmlinux starts at its PVH note and shuts down", linux_by_pvh, 35)
    yield Test("svm: Xen, memtest86+ of 32 bits and ours start, four broken images do not", others, 20)
    yield Test("vmx: a multiboot kernel finds its memory, module and words", partial(multiboot, "vmx"), 25)
    yield Test("el2: packed and cut Images cost a line each, the next VM runs", broken_images, 5)
