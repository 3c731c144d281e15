# SPDX-License-Identifier: Apache-2.0
"""Accesses that memory does not allow: each ends its own VM with a report, and the next VM runs."""

import re
import struct
from functools import partial
from pathlib import Path
from typing import Iterator

from harness import BUILD, STAMP, Failure, Test, came_back, equal, find, isa_of, need, run, vm

MACHINES = [
    ("svm", (), 8),
    ("vmx", (), 22),
    ("svm-bochs", (), 22),
    ("el2", (), 4),
    ("el2", ("--cpu", "cortex-a72", "--gic", "2"), 4),
    ("kvm-nested", (), 75),
    ("kvm", (), 5),
]

DATA_ABORT, INSTRUCTION_ABORT = (f"{kind} Abort from a lower Exception level" for kind in ("Data", "Instruction"))
# "kvm" is of the host's kind.
EXIT_NAMES = {"svm": "VMEXIT_NPF", "svm-bochs": "VMEXIT_NPF", "kvm-nested": "VMEXIT_NPF", "vmx": "EPT violation"}
EXIT_NAMES["kvm"] = "VMEXIT_NPF" if "AuthenticAMD" in Path("/proc/cpuinfo").read_text() else "EPT violation"

# VM and command line, what the guest says (with the address), access, where it went
CASES = [
    ("write-read-only", r"perms: reads 1, writes to read-only 0x([0-9a-f]+)", "write", "area is r-- (MM_EACCES)"),
    (
        "execute-non-executable",
        r"perms: called it once, executes non-executable 0x([0-9a-f]+)",
        "execute",
        "area is rw- (MM_EACCES)",
    ),
    ("read-nothing", r"perms: reads 0x(70000000) where nothing is", "read", "no area there (MM_EFAULT)"),
    ("read-guard", r"perms: reads guard 0x([0-9a-f]+)", "read", "area is --- (MM_EACCES)"),
]
RETURN = {"x86_64": "c3", "aarch64": "d65f03c0"}


def code_in_elf(elf: Path, address: int, size: int) -> bytes:
    """What the guest's program has at an address: ELF64 little-endian, its PT_LOAD segments."""
    data = elf.read_bytes()
    offset, entry_size, count = *struct.unpack_from("<Q", data, 0x20), *struct.unpack_from("<HH", data, 0x36)
    for i in range(count):
        kind, _, start, virtual, _, bytes_, *_ = struct.unpack_from("<IIQQQQQQ", data, offset + i * entry_size)
        if kind == 1 and virtual <= address < virtual + bytes_:
            return data[start + address - virtual :][:size]
    raise Failure(f"{elf} has nothing at 0x{address:x}")


def check_registers(isa: str, name: str, log: str) -> None:
    """All general registers and the main system registers are there; their values are the guest's business."""
    names = ["rip", "rsp", "rflags", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", *(f"r{i}" for i in range(8, 16))]
    names += ["cr0", "cr2", "cr3", "cr4", "efer"]
    if isa == "aarch64":
        names = ["pc", "pstate", "sp_el1", "esr_el1", "sctlr_el1", "vbar_el1", *(f"x{i}" for i in range(31))]
    for register in names:
        find(rf"{STAMP}vm {name}: (?:.* )?{register} +[0-9a-f]+(?: .*)?", log)


def check_code(isa: str, name: str, access: str, gpa: int, log: str) -> None:
    """The program counter, and the code bytes that belong there."""
    counter = int(find(rf"{STAMP}vm {name}: (?:pc|rip) +([0-9a-f]{{16}}) .*", log)[1], 16)
    label = "code" if isa == "aarch64" else r"code at rip \(64-bit\)"
    shown = find(rf"{STAMP}vm {name}: {label}: ([0-9a-f ]+)", log)[1].split()
    if access == "execute":
        equal("the program counter", counter, gpa)
        equal("the first code there", shown[0], RETURN[isa])
        return
    expected = code_in_elf(BUILD / isa / "guests/perms.elf", counter, 4)
    if isa == "aarch64":
        equal("the first code there", shown[0], f"{int.from_bytes(expected, 'little'):08x}")
    else:
        equal("the first code there", bytes.fromhex("".join(shown[:4])), expected)


def perms(rig: str, options: tuple[str, ...], seconds: float) -> None:
    need(rig)
    isa = isa_of(rig)
    conf = "".join(vm(name, "builtin:perms", memory="8M", cmdline=name) for name, *_ in CASES)
    machine = run(rig, *options, conf=conf + vm("after", "builtin:hello"), timeout=60 + 5 * seconds)
    equal("the exit status", machine.status, 1)
    for name, words, access, where in CASES:
        gpa = int(find(words, machine.log)[1], 16)
        exit_name = EXIT_NAMES.get(rig, INSTRUCTION_ABORT if access == "execute" else DATA_ABORT)
        report = f"vm {name}: stopped: {exit_name}: {access} of GPA 0x{gpa:x}, {where}"
        find(STAMP + re.escape(report), machine.log)
        check_registers(isa, name, machine.log)
        check_code(isa, name, access, gpa, machine.log)
        came_back(name, machine.log)
    equal("guests that went on", re.findall("NOT STOPPED|perms: read .*", machine.log), [])
    find(rf"{STAMP}vm after: ended: turned itself off; .*", machine.log)
    find(rf"{STAMP}caisson: 5 guests ended: 1 by themselves, 4 stopped", machine.log)


def tests() -> Iterator[Test]:
    for rig, options, seconds in MACHINES:
        name = " ".join([rig, *(option.removeprefix("--") for option in options)])
        yield Test(
            f"{name}: forbidden accesses end their VM with name, GPA, access, registers and code",
            partial(perms, rig, options, seconds),
            seconds,
        )
