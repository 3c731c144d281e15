# SPDX-License-Identifier: Apache-2.0
"""Interrupts as a guest sees them: priorities, timers, lines; NMIs and deliveries that fault, by both APIC modes; on
Arm more at once than there are list registers, and debug exceptions."""

import re
from functools import partial
from typing import Iterator

from harness import Test, came_back, equal, run, vm

X86_CHECKS = 20  # ten in each mode
ARM_CHECKS = 11
# rig, options, checks, seconds. With --icount QEMU stops for a look around in the middle of things, always at the same
# places.
MACHINES: "list[tuple[str, tuple[str, ...], int, float]]" = [
    ("svm", (), X86_CHECKS, 8),
    ("svm", ("--icount",), X86_CHECKS, 8),
    ("svm-bochs", (), X86_CHECKS, 30),
    ("vmx", (), X86_CHECKS, 30),
    ("el2", (), ARM_CHECKS, 6),
    ("el2", ("--cpu", "cortex-a72", "--gic", "2"), ARM_CHECKS, 6),
    ("el2", ("--cpu", "neoverse-n1", "--acpi-off"), ARM_CHECKS, 6),
]


def arrive(rig: str, options: tuple[str, ...], checks: int, seconds: float) -> None:
    conf = vm("interrupts", "builtin:interrupts", memory="64M", pages="4K", cpu_time="10s")
    machine = run(rig, *options, conf=conf, timeout=60 + 4 * seconds)
    equal("the exit status", machine.status, 0)
    equal("the failures", re.findall(r"^interrupts: .* FAILED$", machine.log, re.MULTILINE), [])
    done = re.findall(r"^interrupts: (?:x2?APIC|GICv[23]): .*: ok$", machine.log, re.MULTILINE)
    equal("the checks", len(done), checks)
    equal("the sum", re.findall(r"^interrupts: ([0-9]+) failed$", machine.log, re.MULTILINE), ["0"])
    came_back("interrupts", machine.log)


def tests() -> Iterator[Test]:
    for rig, options, checks, seconds in MACHINES:
        name = " ".join([rig, *(option.removeprefix("--") for option in options)])
        test = partial(arrive, rig, options, checks, seconds)
        yield Test(f"{name}: interrupts come when and as often as they should", test, seconds)
