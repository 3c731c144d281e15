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
    for rig, isa, seconds in (("svm", "x86", 50), ("el2", "arm64", 25)):
        name = f"{rig}: Linux boots as a guest for little more than bare, and for the same in two runs"
        yield Test(name, partial(bench, isa, "--job", "boot"), seconds)
    for rig, isa, seconds in (("svm", "x86", 130), ("el2", "arm64", 70)):
        name = f"{rig}: work under Linux as a guest costs little more than bare"
        yield Test(name, partial(bench, isa, "--once", "--job", "work"), seconds)
    for rig, isa, seconds in (("svm", "x86", 40), ("el2", "arm64", 40)):
        name = f"{rig}: reads of a disk, and pings between two VMs, are counted"
        yield Test(name, partial(bench, isa, "--once", "--job", "disk", "--job", "net"), seconds)
