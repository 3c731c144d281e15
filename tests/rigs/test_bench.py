# SPDX-License-Identifier: Apache-2.0
"""The numbers of `make bench`: two runs agree exactly, none is above its limit."""

from functools import partial
from typing import Iterator

from harness import TOP, Failure, Test, run_logged


def bench(rig: str) -> None:
    status, output = run_logged([TOP / "tools/bench.py", rig], timeout=900)
    if status != 0:
        raise Failure(output.strip().splitlines()[-1])


def tests() -> Iterator[Test]:
    for rig, seconds in (("svm", 50), ("vmx", 50), ("el2", 10)):
        yield Test(f"{rig}: costs are the same in two runs and within their limits", partial(bench, rig), seconds)
