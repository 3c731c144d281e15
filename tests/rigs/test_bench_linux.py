# SPDX-License-Identifier: Apache-2.0
"""The numbers of `make bench-linux`: none above its limit, or above what is known of it."""

from functools import partial
from typing import Iterator

from harness import TOP, Failure, Test, run_logged


def bench(*options: str) -> None:
    status, output = run_logged([TOP / "tools/bench_linux.py", "--check", *options], timeout=3600)
    if status != 0:
        raise Failure(output.strip().splitlines()[-1])


def tests() -> Iterator[Test]:
    for rig, isa, boot, work, devices in (("svm", "x86", 50, 130, 40), ("el2", "arm64", 30, 100, 40)):
        both = f"{rig}: Linux boots as a guest for little more than bare, and for the same in two runs"
        yield Test(both, partial(bench, isa, "--job", "boot"), boot)
        programs = f"{rig}: work under Linux as a guest costs little more than bare"
        yield Test(programs, partial(bench, isa, "--once", "--job", "work"), work)
        virtio = f"{rig}: reads of a disk and pings between two VMs are counted"
        yield Test(virtio, partial(bench, isa, "--once", "--job", "disk", "--job", "net"), devices)
