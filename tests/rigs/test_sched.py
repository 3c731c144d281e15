# SPDX-License-Identifier: Apache-2.0
"""VMs that run together share the CPU in slices, and neither their registers nor their lines get mixed up."""

import re
from functools import partial
from typing import Iterator

from harness import STAMP, Test, absent, equal, find, run, vm

SLICES = 5  # at least so many, of the endless loop's

TOGETHER = "[caisson]\nrun = together\n"


def together(rig: str, seconds: float) -> None:
    conf = TOGETHER + vm("spin", "builtin:rogue", cmdline="spin", memory="16M", cpu_time="300ms")
    conf += vm("one", "builtin:touch", memory="72M", pages="4K")
    conf += vm("two", "builtin:touch", memory="72M")
    conf += vm("three", "builtin:state")
    machine = run(rig, conf=conf, timeout=60 + 5 * seconds)
    equal("the exit status", machine.status, 1)
    find(r"spin\| rogue: spins for ever", machine.log)
    find(r"one\| touch: 16384 pages, 0 errors, 16384 faults, .*", machine.log)
    find(r"two\| touch: 16384 pages, 0 errors, 32 faults, .*", machine.log)
    find(r"three\| state: [0-9]+ are not now", machine.log)
    absent(r"^[a-z]+\| .*[a-z]\| ", machine.log)
    ends = re.findall(
        rf"^{STAMP}vm ([a-z]+): (?:ended: turned itself off|stopped: CPU time used up)", machine.log, re.M
    )
    equal("who ended", sorted(ends), ["one", "spin", "three", "two"])
    for name in ends:
        find(rf"{STAMP}vm {name}: every frame came back: [0-9]+ free", machine.log)
    find(rf"{STAMP}caisson: 4 guests ended: 3 by themselves, 1 stopped", machine.log)


def tests() -> Iterator[Test]:
    for rig, seconds in (("svm", 8), ("vmx", 20), ("el2", 5)):
        yield Test(f"{rig}: VMs run together, an endless loop harms none", partial(together, rig, seconds), seconds)
