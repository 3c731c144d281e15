# SPDX-License-Identifier: Apache-2.0
"""Floating-point, debug and system registers: what one VM leaves in the CPU, the next one does not find."""

import re
from functools import partial
from typing import Iterator

from harness import Failure, Test, came_back, equal, run, vm

# registers that the guest fills, at least: 16 XMM and 8 x87, 4 debug, 5 MSRs, XCR0; SPEC_CTRL; 64 halves of vectors,
# 10 of debug, 20 of EL1
MACHINES = [
    ("svm", (), 33, 8),
    ("vmx", ("--cpu", "corei7_icelake_u"), 35, 30),
    ("el2", (), 94, 6),
    ("el2", ("--cpu", "cortex-a72", "--gic", "2"), 94, 6),
]


def kept_apart(rig: str, options: tuple[str, ...], filled: int, seconds: float) -> None:
    conf = vm("first", "builtin:state", memory="4M") + vm("second", "builtin:state", memory="4M")
    machine = run(rig, *options, conf=conf, timeout=60 + 4 * seconds)
    equal("the exit status", machine.status, 0)
    found = re.findall(r"^state: ([0-9]+) registers are not as after reset$", machine.log, re.MULTILINE)
    equal("what the two VMs found", found, ["0", "0"])
    left = [int(n) for n in re.findall(r"^state: ([0-9]+) are not now$", machine.log, re.MULTILINE)]
    equal("the number of VMs that filled their registers", len(left), 2)
    if min(left) < filled:
        raise Failure(f"only {min(left)} registers were filled, of {filled}")
    came_back("second", machine.log)


def tests() -> Iterator[Test]:
    for rig, options, filled, seconds in MACHINES:
        name = " ".join([rig, *(option.removeprefix("--") for option in options)])
        test = partial(kept_apart, rig, options, filled, seconds)
        yield Test(f"{name}: a VM finds its registers as after reset", test, seconds)
