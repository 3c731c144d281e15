# SPDX-License-Identifier: Apache-2.0
"""The numbers of `make bench-mm`: two runs agree exactly, none is above its limit or above what is known of it."""

from typing import Iterator

from harness import TOP, Failure, Test, run_logged


def bench() -> None:
    status, output = run_logged([TOP / "tools/bench_mm.py", "--check"], timeout=300)
    if status != 0:
        raise Failure(output.strip().splitlines()[-1])


def tests() -> Iterator[Test]:
    yield Test("host: what mm/ costs is the same in two runs and no more than it may be", bench, 10)
