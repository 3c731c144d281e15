# SPDX-License-Identifier: Apache-2.0
"""The hypervisor's own faults end in a panic that tells where. A debugger makes one: no switch in the image does."""

import re
from typing import Iterator

from harness import BUILD, STAMP, Test, boot, debug, equal, find, isa_of, vm

BROKEN_FUNCTION = "arch_vcpu_report"  # called when the budget of the guest below is used up
LAST_FUNCTION = "stop_cpu"  # halts the CPU that panicked
CPUS = 3
CALLERS = ["vcpu_run", "sched_run", "run"]
NOWHERE = 8  # frame 0 is mapped nowhere

CAUSE = {
    "svm": r"#PF page fault in the hypervisor: fetch of 0x8, nothing mapped",
    "el2": r"synchronous exception at EL2: Instruction Abort taken without a change in Exception level",
}


def panic(rig: str) -> None:
    isa = isa_of(rig)
    conf = vm("spin", "builtin:rogue", cmdline="spin", memory="4M", cpu_time="10s")
    with boot(rig, "--gdb", "--cpus", str(CPUS), conf=conf, timeout=120) as machine:
        debug(isa, "target remote 127.0.0.1:1234", "detach")
        base = machine.expect(r"image at (0x[0-9a-f]+),")[1]
        machine.expect("rogue: spins for ever")
        address = f"*({base} + (unsigned long)&'%s')"
        said = debug(
            isa,
            f"add-symbol-file {BUILD / isa / 'caisson.elf'} -o {base}",
            "target remote 127.0.0.1:1234",
            f"hbreak {address % BROKEN_FUNCTION}",
            "continue",
            f"set $pc = {NOWHERE}",
            f"hbreak {address % LAST_FUNCTION}",
            "continue",
            "info threads",
            "detach",
        )
        equal("the exit status", machine.end(), 3)
    threads = re.findall(r"\(CPU#\d+ \[(\w+) *\]\)", said)
    equal("the CPUs when all is said", sorted(threads), ["halted"] * (CPUS - 1) + ["running"])
    find(rf"{STAMP}panic: {CAUSE[rig]}", machine.log)
    backtrace = re.findall(rf"^{STAMP}panic: +.*?([a-z_0-9]+)\+0x[0-9a-f]+.*$", machine.log, re.MULTILINE)
    callers = [name for name in backtrace if name in CALLERS]
    equal("who called whom", callers, CALLERS)


def panics() -> None:
    for rig in CAUSE:  # one after the other: the debugger's port is one
        panic(rig)


def tests() -> Iterator[Test]:
    yield Test("tells the cause, the registers and who called whom, and halts every CPU", panics, 40)
