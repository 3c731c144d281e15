# SPDX-License-Identifier: Apache-2.0
"""The hardware's walker and addr_space_translate agree: every permission set, leaf size, backend and access.

Rights are taken away from memory that the CPU has just accessed. That a flush is forgotten shows on el2 only: the x86
emulators, and KVM, forget what they cached with every world switch.
"""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Iterator

from harness import STAMP, Boot, Test, absent, came_back, equal, find, isa_of, need, run, vm

# rig, options, memory (room for a run of 1040 MiB at a multiple of 1 GiB), seconds
MACHINES = [
    ("svm", (), "4G", 10),
    ("vmx", (), "3G", 22),
    ("svm-bochs", (), "3G", 22),
    ("el2", (), "3G", 4),
    ("el2", ("--cpu", "cortex-a72", "--gic", "2"), "3G", 5),
    ("kvm-nested", (), "3G", 95),
    ("kvm", (), "4G", 8),
]

# What each format can express, in the order of enum mm_permission's bits.
SETS = ["---", "r--", "-w-", "rw-", "--x", "r-x", "-wx", "rwx"]
AMD = ["---", "r--", "rw-", "r-x", "rwx"]
INTEL = ["---", "r--", "rw-", "--x", "r-x", "rwx"]
LEGAL = {"svm": AMD, "svm-bochs": AMD, "kvm-nested": AMD, "vmx": INTEL, "el2": SETS}
LEGAL["kvm"] = AMD if "AuthenticAMD" in Path("/proc/cpuinfo").read_text() else INTEL  # is of the host's kind


@dataclass(frozen=True)
class Unit:
    """Memory whose rights change as a whole: its leaves, the pages tried in it and beside it."""

    leaf: str
    places: int = 1
    neighbours: int = 2
    lazy: bool = False

    def lines(self, legal: list[str]) -> Iterator[str]:
        # With all rights and then with each set, refused ones among them, and with all rights again at the end.
        rounds = 2 * len(SETS) + 1
        accesses = rounds * 3 * (self.places + self.neighbours)
        yield self.line(self.leaf, legal, accesses, self.places * sum(set_.count("-") for set_ in legal))
        if self.lazy:
            # Each of the three accesses comes first once. Fresh memory has no code: where it may be executed, that is
            # tried only where a write came before and the read between them, that is, when the write is first.
            accesses = sum(9 if "x" not in set_ else 7 if "w" in set_ else 6 for set_ in legal) * self.places
            refused = sum(3 * set_.count("-") for set_ in legal) * self.places
            yield self.line(f"{self.leaf.split()[0]}, faulted in", legal, accesses, refused)

    @staticmethod
    def line(what: str, legal: list[str], accesses: int, refused: int) -> str:
        return f"{what}: sets {' '.join(legal)}; {accesses} accesses, {refused} refused, 0 wrong"


PAGE = Unit("4K")
PAGE_OF_BLOCK = Unit("4K of 2M")
BLOCK = Unit("2M", places=2)
NOTHING = "4K of nothing: sets; 6 accesses, 6 refused, 0 wrong"

# VM (and what its lines begin with), keys of its configuration, units in the order in which they come
WALKS: list[tuple[str, dict[str, str], list[Unit]]] = [
    ("lazy-4k", {"pages": "4K"}, [Unit("4K", lazy=True)]),
    ("lazy", {}, [Unit("2M", places=2, lazy=True), Unit("4K of 2M", lazy=True)]),
    ("populate-4k", {"backing": "populate", "pages": "4K"}, [PAGE]),
    ("populate", {"backing": "populate"}, [BLOCK, PAGE_OF_BLOCK]),
    ("linear", {"backing": "linear"}, [BLOCK, PAGE_OF_BLOCK]),
    (
        "linear-1g",
        {"backing": "linear", "memory": "1040M", "kernel": "builtin:walk_high"},
        [Unit("1G", places=2, neighbours=1), Unit("2M of 1G", places=2), PAGE_OF_BLOCK],
    ),
]
RAM_END = {"x86_64": 0x1000000, "aarch64": 0x41000000}  # of 16 MiB
WORD = 0x800  # where in a page the guest reads and writes
MM_EFAULT, READ = 8, 1


def configuration() -> str:
    text = ""
    for name, keys, _ in WALKS:
        text += vm(name, **{"kernel": "builtin:walk", "cmdline": name, "memory": "16M", "cpu-time": "20s", **keys})
    for name in ("twice", "taken-back", "nowhere", "outside"):
        text += vm(name, "builtin:walk", cmdline=name, memory="16M")
    return text + vm("after", "builtin:hello")


def check_walks(rig: str, machine: Boot) -> None:
    for name, _, units in WALKS:
        expected = [line for unit in units for line in unit.lines(LEGAL[rig])]
        said = re.findall(rf"^walk: {re.escape(name)}: (.*)$", machine.log, re.MULTILINE)
        equal(f"what {name} says", said, [*expected, NOTHING])
        find(rf"{STAMP}vm {name}: ended: turned itself off; .*", machine.log)


def check_odd_cases(isa: str, machine: Boot) -> None:
    """A fault is survived once, where it was asked for, and not at an address that is none."""
    end = RAM_END[isa]
    where = r"no area there \(MM_EFAULT\)"
    find(rf"walk: refused once: {(end + WORD) << 8 | MM_EFAULT << 4 | READ:x}", machine.log)
    for name, fault in (
        ("twice", f"read of GPA 0x{end + WORD:x}"),
        ("taken-back", f"read of GPA 0x{end + WORD:x}"),
        ("nowhere", f"execute of GPA 0x{end:x}"),
    ):
        find(rf"{STAMP}vm {name}: stopped: .*: {fault}, {where}", machine.log)
    if isa == "aarch64":
        find("walk: survived: 22", machine.log)  # 1 + the class of an instruction abort at EL1
    else:
        find(rf"{STAMP}vm outside: stopped: .*: read of GPA 0x{end + WORD:x}, {where}", machine.log)


def walk(rig: str, options: tuple[str, ...], memory: str, seconds: float) -> None:
    need(rig)
    machine = run(rig, *options, "--mem", memory, conf=configuration(), timeout=60 + 5 * seconds)
    absent("^walk: (WRONG|NOT STOPPED).*", machine.log)
    check_walks(rig, machine)
    check_odd_cases(isa_of(rig), machine)
    stopped = 3 if isa_of(rig) == "aarch64" else 4
    names = re.findall(r"^\[vm (.*)\]$", configuration(), re.MULTILINE)
    equal("frames free after each VM", len({came_back(name, machine.log) for name in names}), 1)
    find(rf"{STAMP}caisson: 11 guests ended: {11 - stopped} by themselves, {stopped} stopped", machine.log)
    equal("the exit status", machine.status, 1)


def tests() -> Iterator[Test]:
    for rig, options, memory, seconds in MACHINES:
        name = " ".join([rig, *(option.removeprefix("--") for option in options)])
        yield Test(
            f"{name}: every access does what addr_space_translate says, by permissions, leaf size and backend",
            partial(walk, rig, options, memory, seconds),
            seconds,
        )
