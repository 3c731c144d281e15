# SPDX-License-Identifier: Apache-2.0
"""The built-in demo: hello, then touch, on every rig and from a USB stick."""

from functools import partial
from typing import Iterator

from harness import STAMP, Test, came_back, equal, find, isa_of, need, run, vm

# rig, options, seconds
MACHINES = [
    ("svm", (), 6),
    ("svm", ("--cpu", "EPYC"), 6),
    ("svm", ("--cpu", "EPYC-Milan", "--cpus", "2"), 6),
    ("svm", ("--icount",), 10),
    ("svm", ("--usb",), 6),
    ("vmx", (), 20),
    ("vmx", ("--cpu", "tigerlake"), 20),
    ("vmx", ("--cpu", "corei7_haswell_4770"), 20),
    ("svm-bochs", (), 20),
    ("svm-bochs", ("--cpu", "zambezi", "--cpus", "2"), 20),
    ("el2", (), 3),
    ("el2", ("--gic", "2"), 3),
    ("el2", ("--cpu", "cortex-a72"), 3),
    ("el2", ("--cpu", "cortex-a72", "--gic", "2", "--acpi-off"), 3),
    ("el2", ("--cpu", "neoverse-n1", "--cpus", "2"), 3),
    ("el2", ("--cpu", "neoverse-n1", "--acpi-off"), 3),
    ("el2", ("--usb",), 3),
    ("kvm-nested", (), 70),
    ("kvm", (), 5),
]
TOUCH = "touch: 16384 pages, 0 errors, {faults} faults, 0 on reading back"


def demo(rig: str, options: tuple[str, ...], seconds: float) -> None:
    need(rig)
    machine = run(rig, *options, timeout=60 + 5 * seconds)
    equal("the exit status", machine.status, 0)
    find(rf'hello: a guest on {isa_of(rig)}, 2048 KiB at 0x[0-9a-f]+, command line ""', machine.log)
    find(TOUCH.format(faults=32), machine.log)
    for name in ("hello", "touch"):
        find(rf"{STAMP}vm {name}: ended: turned itself off; [0-9]+ lazy faults filled", machine.log)
        find(rf"{STAMP}vm {name}: exits: [^,]+ [0-9]+(, [^,]+ [0-9]+)*", machine.log)
        came_back(name, machine.log)
    find(rf"{STAMP}caisson: 2 guests ended: 2 by themselves, 0 stopped", machine.log)


def small_pages(rig: str) -> None:
    conf = vm("small", "builtin:touch", memory="72M", pages="4K")
    machine = run(rig, conf=conf, timeout=180)
    equal("the exit status", machine.status, 0)
    find(TOUCH.format(faults=16384), machine.log)
    came_back("small", machine.log)


def backings(rig: str) -> None:
    """What is there from the start costs no fault."""
    conf = "".join(vm(backing, "builtin:touch", memory="72M", backing=backing) for backing in ("linear", "populate"))
    machine = run(rig, conf=conf, timeout=180)
    equal("the exit status", machine.status, 0)
    equal("VMs without any fault", machine.log.count(TOUCH.format(faults=0)), 2)
    for name in ("linear", "populate"):
        came_back(name, machine.log)


def tests() -> Iterator[Test]:
    for rig, options, seconds in MACHINES:
        name = " ".join([rig, *(option.removeprefix("--") for option in options)])
        yield Test(f"{name}: hello ends, touch takes 32 faults of 2 MiB", partial(demo, rig, options, seconds), seconds)
    for rig, seconds in (("svm", 8), ("vmx", 30), ("el2", 4)):
        yield Test(f"{rig}: touch takes 16,384 faults with pages = 4K", partial(small_pages, rig), seconds)
        yield Test(f"{rig}: linear and populated memory take no fault", partial(backings, rig), seconds)
