# SPDX-License-Identifier: Apache-2.0
"""Where memory ends: of the machine, of a VM's quota. Only the VM that asked for more is told, and nothing is lost."""

from functools import partial
from typing import Iterator

from harness import STAMP, Failure, Test, came_back, equal, find, run, vm

MACHINE = "256M"
NUMBER = "([0-9]+)"
RESERVE = 64 + 32 * 3  # frames, for the host and three VMs (hv/host_memory.c)


def held(name: str, log: str) -> tuple[int, int]:
    """The most that the VM held, and its limit, in frames."""
    match = find(rf"{STAMP}vm {name}: held at most {NUMBER} frames of {NUMBER}", log)
    return int(match[1]), int(match[2])


def machine_runs_out(rig: str) -> None:
    """Lazy memory is promised, not there: twice what the machine has is a fair configuration."""
    conf = vm("before", "builtin:hello")
    conf += vm("greedy", "builtin:touch", memory="512M", cmdline="all")
    conf += vm("after", "builtin:hello")
    machine = run(rig, "--mem", MACHINE, conf=conf)
    equal("the exit status", machine.status, 1)
    report = find(
        rf"{STAMP}vm greedy: stopped: out of memory: .*: (?:read|write) of GPA 0x[0-9a-f]+; {NUMBER} frames are free, "
        rf"the last {NUMBER} are kept from guests; this one holds {NUMBER} of {NUMBER}",
        machine.log,
    )
    free, kept, holds, limit = (int(report[i]) for i in range(1, 5))
    equal("the reserve", kept, RESERVE)
    # A fault takes a frame for the guest and at most two for tables, which come out of the reserve.
    if not RESERVE - 2 <= free <= RESERVE:
        raise Failure(f"{free} frames are free when there are none for guests, and {RESERVE} are kept")
    equal("the most that it held", held("greedy", machine.log), (holds, limit))
    find(rf"{STAMP}vm greedy: stopped; [0-9]+ lazy faults filled", machine.log)
    find(rf"{STAMP}vm after: ended: turned itself off; .*", machine.log)
    before = came_back("before", machine.log)
    equal("the free frames after greedy", came_back("greedy", machine.log), before)
    equal("the free frames after after", came_back("after", machine.log), before)
    equal("what is missing meanwhile", before - free, holds)


def quota_runs_out() -> None:
    """Every page that the guest protects by itself costs nodes and tables: it may have so many and no more."""
    conf = vm("patchwork", "builtin:rogue", memory="256M", backing="populate", cmdline="patchwork")
    conf += vm("after", "builtin:hello")
    machine = run("svm", conf=conf)
    equal("the exit status", machine.status, 0)
    most, limit = held("patchwork", machine.log)
    equal("the most that it held", most, limit)
    equal("its limit", limit, 65536 + 65536 // 256 + 64 + 512)  # quota_of in hv/vm.c
    find(r"rogue: patchwork of [0-9]+ pages, 0 errors", machine.log)
    find(rf"{STAMP}vm after: ended: turned itself off; .*", machine.log)
    equal("the free frames", came_back("after", machine.log), came_back("patchwork", machine.log))


def tests() -> Iterator[Test]:
    for rig, seconds in (("svm", 8), ("el2", 4)):
        yield Test(
            f"{rig}: a guest that finds no frame is stopped with a report, and the next one runs",
            partial(machine_runs_out, rig),
            seconds,
        )
    yield Test("svm: a VM gets no more frames than its quota, and lives on", quota_runs_out, 8)
