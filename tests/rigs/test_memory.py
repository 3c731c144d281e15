# SPDX-License-Identifier: Apache-2.0
"""Where memory ends: of the machine, of a VM's quota. Only the VM that asked for more is told, and nothing is lost."""

from functools import partial
from typing import Iterator

from harness import STAMP, TOGETHER, Failure, Test, came_back, equal, find, run, vm

MACHINE = "256M"
NUMBER = "([0-9]+)"
# GiB, and the CPU's address bits: stage 2 of 39 to 44 bits has a root of 1 to 16 frames, of more bits a level more
FAR: list[tuple[str, tuple[str, ...], list[int], int]] = [
    ("svm", (), [], 40),
    ("el2", (), [500, 900, 3000, 15000, 60000], 48),
    ("el2", ("--cpu", "cortex-a72", "--gic", "2"), [500, 900, 3000, 15000], 44),
]
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


def far_memory(rig: str, options: tuple[str, ...], sizes: list[int], bits: int) -> None:
    """Lazy memory of so many GiB each, up to the last page; together, so that the CPU goes from one size to another."""
    conf = TOGETHER
    for size in sizes:
        conf += vm(f"of-{size}", "builtin:touch", memory=f"{size}G", cmdline="far", pages="4K")
    conf += vm("too-large", "builtin:touch", memory=f"{1 << (bits - 30)}G", cmdline="far")
    machine = run(rig, *options, conf=conf)
    equal("the exit status", machine.status, 1)
    for size in sizes:
        last = (1 + size) << 30  # RAM starts at 1 GiB, or has a hole of that size
        find(rf"of-{size}\| touch: [0-9]+ pages, 0 errors, [0-9]+ faults, 0 on reading back", machine.log)
        find(rf"of-{size}\| touch: the last one at GPA 0x{last - 4096:x}$", machine.log)
    end = (1 << bits) + (1 << 30) - 1
    find(
        rf"{STAMP}vm too-large: not started: memory up to GPA 0x{end:x}: on this CPU a guest's have {bits} bits; "
        "take less",
        machine.log,
    )


def tests() -> Iterator[Test]:
    for rig, seconds in (("svm", 8), ("el2", 4)):
        yield Test(
            f"{rig}: a guest that finds no frame is stopped with a report, and the next one runs",
            partial(machine_runs_out, rig),
            seconds,
        )
    for rig, options, sizes, bits in FAR:
        name = " ".join([rig, *(option.removeprefix("--") for option in options)])
        yield Test(
            f"{name}: memory may reach to the end of the CPU's physical addresses, and is refused beyond it",
            partial(far_memory, rig, options, sizes, bits),
            4,
        )
    yield Test("svm: a VM gets no more frames than its quota, and lives on", quota_runs_out, 8)
