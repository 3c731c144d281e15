# SPDX-License-Identifier: Apache-2.0
"""VMs that run together share the CPU in slices, and neither their registers nor their lines get mixed up."""

import re
from functools import partial
from typing import Iterator

from harness import STAMP, TOGETHER, Failure, Test, absent, equal, find, run, vm

BUDGET = 0.6  # seconds
SLICE = 10000  # microseconds


def together(rig: str, seconds: float) -> None:
    conf = TOGETHER + vm("spin", "builtin:rogue", cmdline="spin", memory="16M", cpu_time="300ms")
    conf += vm("one", "builtin:touch", memory="72M", pages="4K")
    conf += vm("two", "builtin:touch", memory="72M")
    conf += vm("three", "builtin:state")
    conf += vm("slow", "builtin:rogue", cmdline="slow", memory="4M")
    machine = run(rig, conf=conf, timeout=60 + 5 * seconds)
    equal("the exit status", machine.status, 1)
    find(r"spin\| rogue: spins for ever", machine.log)
    find(r"one\| touch: 16384 pages, 0 errors, 16384 faults, .*", machine.log)
    find(r"two\| touch: 16384 pages, 0 errors, 32 faults, .*", machine.log)
    find(r"three\| state: [0-9]+ are not now", machine.log)
    find(r"^slow\| rogue: takes its time for each byte of this line$", machine.log)
    absent(r"^[a-z]+\| .*[a-z]\| ", machine.log)
    ends = re.findall(
        rf"^{STAMP}vm ([a-z]+): (?:ended: turned itself off|stopped: CPU time used up)", machine.log, re.M
    )
    equal("who ended", sorted(ends), ["one", "slow", "spin", "three", "two"])
    for name in ends:
        find(rf"{STAMP}vm {name}: every frame came back: [0-9]+ free", machine.log)
    find(rf"{STAMP}caisson: 5 guests ended: 4 by themselves, 1 stopped", machine.log)


def restarts(rig: str, seconds: float) -> None:
    """Each restart clears 128 MiB, longer than a slice, and costs it that time; the other guest is to have half."""
    conf = TOGETHER + vm("spin", "builtin:rogue", cmdline="spin", memory="4M", cpu_time="1s")
    conf += vm("restart", "builtin:rogue", cmdline="restart", memory="128M", backing="populate", cpu_time="600ms")
    machine = run(rig, conf=conf, timeout=60 + 5 * seconds)
    equal("the exit status", machine.status, 1)
    times = [
        float(find(rf"\[ *([0-9.]+)\] vm restart: {what}", machine.log)[1])
        for what in ("started: .*", "stopped: CPU time used up: 600 ms")
    ]
    lasted = times[1] - times[0]
    if not 1.5 * BUDGET < lasted < 4 * BUDGET:
        raise Failure(f"{BUDGET} seconds of runs and restarts, beside another guest, were over after {lasted:.3f}")


def caches() -> None:
    """Each turn of its caches costs a guest 512 MiB of cleaning where stage 2 does not force write-back: in parts."""
    conf = TOGETHER + vm("caches", "builtin:rogue", cmdline="caches", memory="512M", backing="populate", cpu_time="1s")
    conf += vm("watch", "builtin:rogue", cmdline="watch", memory="4M")
    machine = run("el2", "--cpu", "cortex-a72", "--gic", "2", "--icount", conf=conf)
    equal("the exit status", machine.status, 1)
    find(r"caches\| rogue: turns its caches off and on", machine.log)
    find(rf"{STAMP}vm caches: stopped: CPU time used up: 1000 ms", machine.log)
    away = int(find(r"watch\| rogue: was away for ([0-9]+) us at most", machine.log)[1])
    if not SLICE <= away < SLICE + 1000:
        raise Failure(f"the guest beside it was away for {away} microseconds, a slice has {SLICE}")


def tests() -> Iterator[Test]:
    for rig, seconds in (("svm", 8), ("vmx", 20), ("el2", 5)):
        yield Test(f"{rig}: VMs run together, an endless loop harms none", partial(together, rig, seconds), seconds)
    yield Test("svm: a VM that restarts for ever leaves the others their time", partial(restarts, "svm", 6), 6)
    yield Test("el2 cpu cortex-a72 gic 2: a guest that plays with its caches leaves the others their time", caches, 6)
