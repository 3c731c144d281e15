# SPDX-License-Identifier: Apache-2.0
"""States of a machine that firmware may leave and no emulator offers: tests/firmware makes them, starts the image."""

import re
import subprocess
from functools import partial
from typing import Iterator

from harness import (
    BUILD, STAMP, Boot, Failure, Files, Test, boot, came_back, debug, equal, find, isa_of, one_line, run, vm,
)  # fmt: skip

BOOT_NAME = {"x86_64": "BOOTX64.EFI", "aarch64": "BOOTAA64.EFI"}
DEMO_END = rf"{STAMP}caisson: 2 guests ended: 2 by themselves, 0 stopped"

VMX_LOCKED = (
    r"VMX: switched off and locked by the firmware \(IA32_FEATURE_CONTROL = 0x1\): enable "
    r'"Intel Virtualization Technology" in its setup, then power off and on'
)
SVM_LOCKED = (
    r"SVM: disabled and locked by the firmware \(VM_CR 0x18\): enable it in the firmware's setup, "
    r"where it may be called SVM mode"
)
NO_EL2 = "started at EL1: the firmware keeps EL2 for itself, or the CPU has none; applications must start at EL2"

# Where tests/firmware/x86_64/nmi.c sends NMIs: the least number of exits in four guests, and of all there were
NMIS = [("svm", 100, 200, 12), ("vmx", 50, 1000, 25), ("svm-bochs", 50, 1000, 25)]
NMI_GUESTS = ("hello", "touch", "first", "second")


def volume_of(state: str, isa: str) -> Files:
    """The firmware starts tests/firmware/<isa>/<state>.c, and that the image."""
    return {
        f"EFI/BOOT/{BOOT_NAME[isa]}": BUILD / isa / "firmware" / f"{state}.efi",
        "EFI/caisson/caisson.efi": BUILD / isa / "caisson.efi",
    }


def started_by(state: str, rig: str, *options: str, conf: "str | None" = None, timeout: float) -> Boot:
    return run(rig, *options, conf=conf, volume=volume_of(state, isa_of(rig)), timeout=timeout)


def refused(machine: Boot, pattern: str) -> None:
    equal("the exit status", machine.status, 3)
    one_line(machine.log, find(f"caisson: {pattern}", machine.log)[0])


def locked(rig: str, pattern: str, seconds: float) -> None:
    refused(started_by("locked", rig, timeout=60 + 5 * seconds), pattern)


def without_el2() -> None:
    refused(run("el2", "--no-el2"), NO_EL2)


def demo(state: str, rig: str, options: tuple[str, ...], pattern: str, seconds: float) -> None:
    machine = started_by(state, rig, *options, timeout=60 + 5 * seconds)
    equal("the exit status", machine.status, 0)
    find(pattern, machine.log)
    for name in ("hello", "touch"):
        came_back(name, machine.log)
    find(DEMO_END, machine.log)


def nmis(rig: str, exits: int, total: int, seconds: float) -> None:
    conf = vm("hello", "builtin:hello") + vm("touch", "builtin:touch", memory="72M")
    conf += "".join(vm(name, "builtin:state", memory="4M") for name in ("first", "second"))
    machine = started_by("nmi", rig, conf=conf, timeout=60 + 5 * seconds)
    equal("the exit status", machine.status, 0)
    find("touch: 16384 pages, 0 errors, 32 faults, 0 on reading back", machine.log)
    found = re.findall(r"^state: ([0-9]+) registers are not as after reset$", machine.log, re.MULTILINE)
    equal("what the two VMs found that look at their registers", found, ["0", "0"])
    for name in NMI_GUESTS:
        came_back(name, machine.log)
    find(rf"{STAMP}caisson: 4 guests ended: 4 by themselves, 0 stopped", machine.log)

    told = re.findall(rf"^{STAMP}cpu: an NMI came, and nobody here knows why: .*", machine.log, re.MULTILINE)
    equal("the number of lines about the first NMI", len(told), 1)
    taken = sum(int(count) for count in re.findall(r" exits: .*?(?:VMEXIT_NMI|Exception or NMI) ([0-9]+)", machine.log))
    came = int(find(rf"{STAMP}cpu: ([0-9]+) NMIs came in all", machine.log)[1])
    if taken < exits or came < max(total, taken):
        raise Failure(f"{came} NMIs came, {taken} of them in guests: that is too few")


def takeover_instructions() -> list[int]:
    """From where the CPU gets the host's GDT to where it gets the IDT: addresses in the image."""
    command = ["objdump", "-d", "--no-show-raw-insn", str(BUILD / "x86_64/caisson.elf")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    match = re.search(r"^.*\tlgdt .*\n(?:.*\n)*?.*\tlidt ", done.stdout, re.MULTILINE)
    if not match:
        raise Failure("no LGDT with an LIDT after it")
    return [int(address, 16) for address in re.findall(r"^ *([0-9a-f]+):\t", match[0], re.MULTILINE)]


def nmi_in_takeover() -> None:
    """The image lies at the same place each time: the first run tells where, the debugger stops the second there."""
    volume = volume_of("nmi", "x86_64")
    conf = vm("hello", "builtin:hello")
    base = int(find(r".* image at (0x[0-9a-f]+), .*", run("svm", conf=conf, volume=volume).log)[1], 16)
    places = takeover_instructions()
    with boot("svm", "--gdb", conf=conf, volume=volume) as machine:
        breakpoints = [f"hbreak *{base + place:#x}" for place in places]
        steps = ["continue", "monitor nmi"] * len(places)
        debug("x86_64", "target remote 127.0.0.1:1234", *breakpoints, *steps, "delete", "detach")
        equal("the exit status", machine.end(), 0)
    came_back("hello", machine.log)


def tests() -> Iterator[Test]:
    for options in ((), ("--cpu", "neoverse-n1", "--acpi-off")):
        name = " ".join(["el2", *(option.removeprefix("--") for option in options)])
        vhe = rf"{STAMP}cpu: EL2 \(entered with VHE, now off\), .*"
        yield Test(f"{name}: the demo runs when entered with VHE", partial(demo, "vhe", "el2", options, vhe, 3), 3)
    yield Test("el2: a CPU without EL2 costs one line and status 3", without_el2, 3)
    for rig, pattern, seconds in (("vmx", VMX_LOCKED, 20), ("kvm-nested", SVM_LOCKED, 60)):
        what = "virtualization that the firmware has locked off costs one line and status 3"
        yield Test(f"{rig}: {what}", partial(locked, rig, pattern, seconds), seconds)
    on = partial(demo, "enabled", "vmx", (), rf"{STAMP}virt: VMX, .*", 20)
    yield Test("vmx: the demo runs where the firmware has locked virtualization on", on, 20)
    yield Test("svm: an NMI at any instruction between LGDT and LIDT is survived", nmi_in_takeover, 12)
    for rig, exits, total, seconds in NMIS:
        test = partial(nmis, rig, exits, total, seconds)
        yield Test(f"{rig}: NMIs all the time harm neither host nor guests, and are told", test, seconds)
