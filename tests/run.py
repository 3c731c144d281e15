#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the tests: `make test T=PATTERN`, or tests/run.py [PATTERN].

Host tests, fuzzers, lint and everything under tests/rigs, two at a time, the longest first. One line a test, the
end of the log of a failed one, and at the end how many there were. Logs are kept in build/tests.
"""

import importlib.util
import os
import re
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Iterator

sys.path.append(str(Path(__file__).resolve().parent / "rigs"))

from harness import BUILD, TOP, Failure, Skip, Test, logging_to, run_logged  # noqa: E402

LOGS = BUILD / "tests"
WORKERS = max(2, os.cpu_count() or 2)
TAIL_LINES, TAIL_WIDTH = 40, 200
FUZZ_SECONDS = {"mm": 60}  # by fuzzer
FUZZ_SECONDS_OF_OTHERS = 10


# ---- what runs on the build machine itself ----


def host_test(program: str) -> None:
    if not (BUILD / "host" / program).exists():
        raise Failure("it is not built: make host-test-programs")
    status, output = run_logged([BUILD / "host" / program], timeout=300)
    if status != 0:
        raise Failure(f"exit status {status}")
    if not re.search(r"^\[ +OK \]", output, re.MULTILINE):
        raise Failure("it ran no test")


def make(target: str, timeout: float, *arguments: str) -> None:
    status, _ = run_logged(["make", "--no-print-directory", target, *arguments], timeout)
    if status != 0:
        raise Failure(f"make {target} failed")


def mm_demo() -> None:
    status, output = run_logged(["make", "--no-print-directory", "QUIET=1", "demo"], timeout=120)
    if status != 0:
        raise Failure(f"exit status {status}")
    if output.strip() != (TOP / "tests/host/mm_demo.expected").read_text().strip():
        raise Failure("it prints something else than tests/host/mm_demo.expected")


def host_tests() -> Iterator[Test]:
    for source in sorted(TOP.glob("tests/host/test_*.c")):
        yield Test(f"host/{source.stem[5:]}: all cases pass under ASan and UBSan", partial(host_test, source.stem), 2)
    for source in sorted(TOP.glob("tests/host/fuzz_*.c")):
        name = source.stem[5:]
        seconds = FUZZ_SECONDS.get(name, FUZZ_SECONDS_OF_OTHERS)
        fuzz = partial(make, f"fuzz-{name}", 300, f"FUZZ_SECONDS={seconds}")
        yield Test(f"host/fuzz-{name}: {seconds} seconds of random input find nothing", fuzz, seconds + 15)
    for source in sorted(TOP.glob("tests/host/race_*.c")):
        name = source.stem[5:]
        race = partial(make, f"race-{name}", 300)
        yield Test(f"host/race-{name}: ThreadSanitizer finds no race", race, 20)
    coverage = partial(make, "coverage-mm", 300)
    yield Test("host/coverage-mm: the tests reach 97 % of the lines of mm/", coverage, 30)
    yield Test("host/mm-demo: libmm.a does in a program of its own what examples/mm_demo.c says", mm_demo, 10)
    lint = partial(make, "lint", 900)
    yield Test("source/lint: clang-format, clang-tidy, cppcheck, shellcheck, black and mypy find nothing", lint, 120)
    yield Test("source/layers: no floor includes what is above it", partial(make, "check-layers", 60), 1)


def rig_tests() -> Iterator[Test]:
    for path in sorted(TOP.glob("tests/rigs/test_*.py")):
        specification = importlib.util.spec_from_file_location(path.stem, path)
        assert specification and specification.loader
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        for test in module.tests():
            yield Test(f"{path.stem[5:]}/{test.name}", test.run, test.seconds)


# ---- running ----


def tail(log: Path) -> list[str]:
    """The end of a log, without what would move the cursor."""
    text = re.sub(r"\x1b\[[0-9;=?]*[A-Za-z]", "\n", log.read_text(errors="replace").replace("\r", ""))
    lines = [re.sub(r"[^\t -~]", "?", line)[:TAIL_WIDTH] for line in text.splitlines() if line.strip()]
    return lines[-TAIL_LINES:]


class Results:
    """Counts and prints; called by all workers."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counts = {"PASS": 0, "FAIL": 0, "SKIP": 0}
        self.skipped: list[str] = []

    def add(self, verdict: str, test: Test, seconds: float, message: str, log: Path) -> None:
        with self.lock:
            self.counts[verdict] += 1
            print(f"{verdict}  {test.name}  {seconds:.1f} s", flush=True)
            if verdict == "SKIP":
                self.skipped.append(f"skipped {test.name}: {message}")
            if verdict == "FAIL":
                print(f"    {message}\n    the end of {log.relative_to(TOP)}:")
                print("".join(f"    | {line}\n" for line in tail(log)), end="", flush=True)

    def close(self) -> int:
        passed, failed, skipped = self.counts.values()
        for line in self.skipped:
            print(line)
        print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
        return 1 if failed or not passed else 0


def run_test(test: Test, results: Results) -> None:
    log = LOGS / (re.sub(r"[^A-Za-z0-9.-]+", "_", test.name)[:100] + ".log")
    start = time.monotonic()
    verdict, message = "PASS", ""
    with logging_to(log):
        try:
            test.run()
        except Skip as reason:
            verdict, message = "SKIP", str(reason)
        except Failure as reason:
            verdict, message = "FAIL", str(reason)
        except Exception:  # pylint: disable=broad-except  # a mistake in the test fails that test only
            verdict, message = "FAIL", traceback.format_exc()
    results.add(verdict, test, time.monotonic() - start, message, log)


def main() -> int:
    pattern = re.compile(" ".join(sys.argv[1:]))
    tests = [test for test in (*host_tests(), *rig_tests()) if pattern.search(test.name)]
    tests.sort(key=lambda test: -test.seconds)
    LOGS.mkdir(parents=True, exist_ok=True)
    results = Results()
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda test: run_test(test, results), tests))
    return results.close()


if __name__ == "__main__":
    sys.exit(main())
