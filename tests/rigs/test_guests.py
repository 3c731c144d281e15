# SPDX-License-Identifier: Apache-2.0
"""Guests that nobody here wrote, fetched from Debian's packages: memtest86+ on x86, U-Boot on Arm."""

from functools import partial
from typing import Iterator

from harness import STAMP, Boot, Files, Test, absent, boot, came_back, equal, fetched, find, vm

MEMTEST_CMDLINE = "console=ttyS0,115200 nosmp nopause nobench"
ERRORS = r"Errors: +[1-9]"


def memtest_conf() -> str:
    return vm("memtest", r"\memtest.bin", memory="16M", cmdline=MEMTEST_CMDLINE)


def memtest_files() -> Files:
    return {"memtest.bin": fetched("memtest86+", "boot/memtest86+x64.bin")}


def expect_memtest(machine: Boot) -> None:
    machine.expect(rf"{STAMP}vm memtest: started: \\memtest\.bin, 16384 KiB lazy, 1 vCPU")
    machine.expect(r"Memtest86\+ v6\.10 ")
    machine.expect("16MB ")


def memtest_pass() -> None:
    """Its screen is sent every two seconds and so misses the short tests; the last one takes 160 seconds."""
    with boot("svm", conf=memtest_conf(), volume=memtest_files(), timeout=900) as machine:
        expect_memtest(machine)
        machine.expect(r"#10 +\[Bit fade test, 2 patterns\]")
        machine.expect(r"Pass: +1 +Errors: 0 ")
    absent(ERRORS, machine.log)


def memtest_first_tests() -> None:
    """Tests #0 to #3 come in order, so that #4 has begun says that they are through."""
    with boot("vmx", conf=memtest_conf(), volume=memtest_files(), timeout=400) as machine:
        expect_memtest(machine)
        machine.expect(r"#0 +\[Address test, walking ones, no cache\]")
        machine.expect(r"#4 +\[Moving inversions, 8 bit pattern\]")
        machine.expect(r"Pass: +0 +Errors: 0 ")
        machine.send("1")
        machine.expect("Settings:")
        machine.expect("<F5>  Skip current test")
    absent(ERRORS, machine.log)


def u_boot(options: tuple[str, ...]) -> None:
    files: Files = {"u-boot.bin": fetched("u-boot-qemu", "usr/lib/u-boot/qemu_arm64/u-boot.bin")}
    conf = vm("u-boot", r"\u-boot.bin", memory="64M") + vm("after", "builtin:hello")
    with boot("el2", *options, conf=conf, volume=files, timeout=120) as machine:
        machine.expect(rf"{STAMP}vm u-boot: started: \\u-boot\.bin, 65536 KiB lazy, 1 vCPU")
        machine.expect(r"^U-Boot 2023\.01")
        machine.expect("DRAM:  64 MiB")
        machine.expect("Hit any key to stop autoboot:")
        machine.send(" ")
        machine.expect("^=> ")
        machine.send("version\n")
        machine.expect(r"version\nU-Boot 2023\.01\S* \(")
        machine.expect("^=> ")
        machine.send("bdinfo\n")
        machine.expect(r"^-> start    = 0x0000000040000000\n-> size     = 0x0000000004000000")
        machine.expect(r"^Build       = 64-bit")
        machine.expect("^=> ")
        machine.send("poweroff\n")
        equal("the exit status", machine.end(), 0)
    find(rf"{STAMP}vm u-boot: ended: turned itself off; [0-9]+ lazy faults filled", machine.log)
    came_back("u-boot", machine.log)
    find(rf"{STAMP}caisson: 2 guests ended: 2 by themselves, 0 stopped", machine.log)


def tests() -> Iterator[Test]:
    yield Test("svm: memtest86+ completes a pass over 16 MiB without errors", memtest_pass, 240)
    yield Test("vmx: memtest86+ runs tests #0 to #3 without errors and takes a key", memtest_first_tests, 40)
    for options in ((), ("--gic", "2", "--cpu", "cortex-a72"), ("--acpi-off", "--cpu", "neoverse-n1")):
        name = " ".join(["el2", *(option.removeprefix("--") for option in options)])
        yield Test(f"{name}: U-Boot answers version and bdinfo, and powers off", partial(u_boot, options), 10)
