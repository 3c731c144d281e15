# SPDX-License-Identifier: Apache-2.0
"""Interrupts as a guest sees them: priorities, timers, lines, NMIs, and deliveries that fault, by both APIC modes."""

import re
from functools import partial
from typing import Iterator

from harness import Test, came_back, equal, run, vm

# rig, options, seconds. With --icount QEMU stops for a look around in the middle of things, always at the same places.
MACHINES: "list[tuple[str, tuple[str, ...], float]]" = [
    ("svm", (), 8),
    ("svm", ("--icount",), 8),
    ("svm-bochs", (), 30),
    ("vmx", (), 30),
]
CHECKS = 18  # nine in each mode


def arrive(rig: str, options: tuple[str, ...], seconds: float) -> None:
    conf = vm("interrupts", "builtin:interrupts", memory="64M", pages="4K", cpu_time="10s")
    machine = run(rig, *options, conf=conf, timeout=60 + 4 * seconds)
    equal("the exit status", machine.status, 0)
    equal("the failures", re.findall(r"^interrupts: .* FAILED$", machine.log, re.MULTILINE), [])
    equal("the checks", len(re.findall(r"^interrupts: x2?APIC: .*: ok$", machine.log, re.MULTILINE)), CHECKS)
    equal("the sum", re.findall(r"^interrupts: ([0-9]+) failed$", machine.log, re.MULTILINE), ["0"])
    came_back("interrupts", machine.log)


def tests() -> Iterator[Test]:
    for rig, options, seconds in MACHINES:
        machine = " ".join((rig, *options)).replace("--", "")
        name = f"{machine}: interrupts come when and as often as they should"
        yield Test(name, partial(arrive, rig, options, seconds), seconds)
