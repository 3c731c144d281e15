# SPDX-License-Identifier: Apache-2.0
"""Instructions that reach device registers do there what they do to memory."""

import re
from functools import partial
from typing import Iterator

from harness import Test, came_back, equal, run, vm

RIGS = {"svm": 6, "svm-bochs": 25, "vmx": 25}
FORMS = 52


def like_memory(rig: str, seconds: float) -> None:
    machine = run(rig, conf=vm("mmio", "builtin:mmio", memory="16M"), timeout=60 + 4 * seconds)
    equal("the exit status", machine.status, 0)
    found = re.findall(r"^mmio: ([0-9]+) of ([0-9]+) differ from memory$", machine.log, re.MULTILINE)
    equal("the forms that differ", found, [("0", str(FORMS))])
    came_back("mmio", machine.log)


def tests() -> Iterator[Test]:
    for rig, seconds in RIGS.items():
        yield Test(
            f"{rig}: every form of access does to a register what it does to memory",
            partial(like_memory, rig, seconds),
            seconds,
        )
