# SPDX-License-Identifier: Apache-2.0
"""Guests that do their worst: only their own VM suffers, the next one runs, and no frame is lost."""

import re
from dataclasses import dataclass
from functools import partial
from typing import Iterator

from harness import STAMP, Failure, Test, came_back, equal, find, run, vm


@dataclass(frozen=True)
class Storm:
    name: str  # the guest's command line
    says: str  # a line of the guest: what it saw
    stopped: str = ""  # why its VM is stopped; empty: it survives and turns itself off
    cpu_time: str = ""


BUDGET = "300ms"
USED_UP = "CPU time used up: 300 ms"

SPIN = Storm("spin", "rogue: spins for ever", USED_UP, BUDGET)
# Not on QEMU, whose deliveries of exceptions hit no data breakpoint.
DEBUG = Storm("debug", "rogue: debug exceptions without end", USED_UP, BUDGET)
COMMON = [
    Storm("hypercalls", "rogue: 20000 hypercalls, most refused"),
    Storm("patchwork", "rogue: patchwork of [0-9]+ pages, 0 errors"),
]
X86 = [
    Storm("virtualization", "rogue: 2000 virtualization instructions, 2000 refused"),
    Storm("registers", "rogue: MSR storm: few readable, few writable"),
    Storm("ports", "rogue: every port read and written"),
    Storm("control", "rogue: control registers: most refused, 0 of CR4's bits against CPUID"),
]
AMD = [
    Storm("triple-fault", "rogue: triple fault", "VMEXIT_SHUTDOWN: the guest shut its CPU down"),
    Storm("halt", "rogue: halts for ever", "VMEXIT_HLT: halted with no interrupt that could wake it"),
    Storm("memory", "rogue: wrote all memory up to 0x[0-9a-f]+, goes on", "VMEXIT_NPF: write of GPA .*"),
]
INTEL = [
    Storm("triple-fault", "rogue: triple fault", "Triple fault: the guest shut its CPU down"),
    Storm("halt", "rogue: halts for ever", "HLT: halted with no interrupt that could wake it"),
    Storm("memory", "rogue: wrote all memory up to 0x[0-9a-f]+, goes on", "EPT violation: write of GPA .*"),
]
ARM = [
    Storm("smc", "rogue: 20000 SMCs, most refused"),
    Storm("hvc", "rogue: 20000 HVCs, most refused"),
    Storm("registers", "rogue: [0-9]+ system-register accesses, most refused"),
    Storm("wreck", "rogue: wrecks its own system registers", ".*", BUDGET),
    Storm("exceptions", "rogue: takes exceptions without end", USED_UP, BUDGET),
    Storm("halt", "rogue: halts for ever", ".*: halted with no interrupt that could wake it"),
    Storm(
        "memory",
        "rogue: wrote all memory up to 0x[0-9a-f]+, goes on",
        "Data Abort from a lower Exception level: write of GPA .*",
    ),
]
MACHINES = [
    ("svm", (), [SPIN, *COMMON, *X86, *AMD], 15),
    ("vmx", (), [SPIN, DEBUG, *COMMON, *X86, *INTEL], 30),
    # No spin: Bochs 2.7 loads the guest's RFLAGS before the CPU counts as in the guest, so that a guest which starts
    # with IF = 0 masks the host's interrupts too, V_INTR_MASKING or not.
    ("svm-bochs", (), [DEBUG, *COMMON, *X86, *AMD], 30),
    ("el2", (), [SPIN, *COMMON, *ARM], 15),
    ("el2", ("--cpu", "cortex-a72", "--gic", "2"), [SPIN, *COMMON, *ARM], 15),
    ("el2", ("--cpu", "neoverse-n1", "--acpi-off"), [SPIN, *COMMON, *ARM], 15),
]


def sums_are_right(log: str) -> None:
    """Every mm line accounts for each frame, and the total never changes."""
    lines = re.findall(r"mm: (\d+) frames, (\d+) free, (\d+) kernel, (\d+) tables, (\d+) guest$", log, re.MULTILINE)
    if len(lines) < 2:
        raise Failure("the log has no mm lines")
    for total, *parts in lines:
        equal("the sum of the frames", sum(map(int, parts)), int(lines[0][0]))
        equal("the number of frames", total, lines[0][0])


def check(storm: Storm, log: str) -> None:
    name = storm.name
    find(storm.says, log)
    if storm.stopped:
        find(rf"{STAMP}vm {name}: stopped: {storm.stopped}", log)
    else:
        find(f"rogue: {name} is over, still alive", log)
        find(rf"{STAMP}vm {name}: ended: turned itself off; .*", log)
    find(rf"{STAMP}vm after-{name}: ended: turned itself off; .*", log)


def rogue(rig: str, options: tuple[str, ...], storms: list[Storm], seconds: float) -> None:
    conf = vm("before", "builtin:hello")
    for storm in storms:
        limit = {"cpu_time": storm.cpu_time} if storm.cpu_time else {}
        conf += vm(storm.name, "builtin:rogue", memory="16M", cmdline=storm.name, **limit)
        conf += vm(f"after-{storm.name}", "builtin:hello")
    machine = run(rig, *options, conf=conf, timeout=60 + 5 * seconds)
    for storm in storms:
        check(storm, machine.log)
    stopped = sum(1 for storm in storms if storm.stopped)
    equal("the exit status", machine.status, 1)
    ended = 2 * len(storms) + 1 - stopped
    find(rf"{STAMP}caisson: {2 * len(storms) + 1} guests ended: {ended} by themselves, {stopped} stopped", machine.log)

    sums_are_right(machine.log)
    free = came_back("before", machine.log)
    for storm in storms:
        equal(f"the free frames after {storm.name}", came_back(storm.name, machine.log), free)


def tests() -> Iterator[Test]:
    for rig, options, storms, seconds in MACHINES:
        name = " ".join([rig, *(option.removeprefix("--") for option in options)])
        yield Test(
            f"{name}: no storm harms more than its own VM, every frame comes back",
            partial(rogue, rig, options, storms, seconds),
            seconds,
        )
