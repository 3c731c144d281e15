#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the operations of mm/ cost in instructions, beside the Rust crate that mm/ is modelled on: `make bench-mm`.

Runs build/host/mm_bench twice; the two runs must agree. Counts user-mode instructions as they retire, by
perf_event_open where this machine has that, else under callgrind. Prints a table and, in build/bench.json, replaces
the rows `mm.*`. With --check it fails if a row is above its limit, or above what it is known to cost; with
--profile ROW it tells instead which functions a row's instructions are in.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bench import BUILD, TOP, BenchError, write_json

PROGRAM = BUILD / "host/mm_bench"
TIMEOUT = 300
STATUS_NO_COUNTER = 2  # of the program, where it can count only under callgrind
PERF_RUNS = 3  # of which the least counts: an interrupt adds an instruction or two
PERF_TOLERANCE = 1.0
EMPTY, LOOP, ZERO = "empty", "loop", "zero"  # rows that are taken off others


@dataclass(frozen=True)
class Row:
    name: str
    what: str
    theirs: "float | None" = None  # axaddrspace 0.3.0, opt-level 3, LTO
    limit: "float | None" = None
    known: "float | None" = None  # what it costs although that is above the limit; it shall not get worse
    unit: str = "instructions"


ROWS = (
    Row("mm.linear4k.map", "linear 1 GiB by 4 KiB, per page", 118.5, 6),
    Row("mm.linear4k.unmap", "unmap of the same, per page", 73, 5),
    Row("mm.linear2m.map", "linear 1 GiB by 2 MiB, per leaf", 110.8, 8),
    Row("mm.populate4k", "populate 256 MiB by 4 KiB, per page", 133.5, 25),
    Row("mm.populate4k.pieces", "the same where no 2 MiB frame is to be had"),
    Row("mm.lazy64g.map", "lazy map of 64 GiB", 1.79e9, 2000),
    Row("mm.lazy64g.tables", "table memory that it takes", 128 << 20, 0, unit="bytes"),
    Row("mm.fault4k", "lazy fault, 4 KiB, random order", 144, 90),
    Row("mm.fault4k.1024areas", "the same among 1,024 areas", 338, 160),
    Row("mm.fault2m", "lazy fault, 2 MiB"),
    Row("mm.translate4k", "translate, random, 4 KiB leaves", 46, 25, known=52),
    Row("mm.translate4k.linear", "the same in a linear area", 46, 25),
    Row("mm.translate4k.1024areas", "the same among 1,024 areas"),
    Row("mm.translate4k.populated", "the same where nothing has faulted"),
    Row("mm.churn.16384areas", "map + unmap a page beside 16,384 areas", 373528, 1500),
    Row("mm.churn.16384areas.tables", "the same where tables come and go", 373528, 1500),
    Row("mm.hole", "4 KiB hole into mapped pages", 3872, 600),
    Row("mm.hole.lazy", "4 KiB hole into a lazy area"),
    Row("mm.hole.2m", "4 KiB hole into a leaf of 2 MiB"),
    Row("mm.space.create_destroy", "create and destroy an empty space", 5983, 900),
    Row("mm.frame.alloc_free", "bitmap: take and free 4 KiB"),
    Row("mm.frame.alloc2m_free", "bitmap: take and free 2 MiB"),
)

Costs = dict[str, int]  # function -> instructions


@dataclass
class Run:
    """What the program said: each row's units, whether it loops, how many frames it zeroes; values it counted."""

    rows: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    counts: dict[str, Costs] = field(default_factory=dict)

    def read(self, output: str) -> None:
        for name, units, loops, zeroings in re.findall(r"^row (\S+) (\d+) (\d) (\d+)$", output, re.MULTILINE):
            self.rows[name] = (int(units), int(loops), int(zeroings))
        for name, value in re.findall(r"^value (\S+) (\d+)$", output, re.MULTILINE):
            self.values[name] = int(value)

    def numbers(self) -> dict[str, float]:
        """Instructions per unit, without what is not the operation's own."""
        total = {name: sum(costs.values()) for name, costs in self.counts.items()}
        missing = [name for name in self.rows if name not in total]
        if missing:
            raise BenchError(f"{missing[0]} was not counted")
        own = {name: count - total[EMPTY] for name, count in total.items()}
        for name, (units, loops, zeroings) in self.rows.items():
            if name not in (EMPTY, LOOP, ZERO):
                self.values[name] = round((own[name] - loops * own[LOOP] - zeroings * own[ZERO]) / units, 1)
        return self.values


def run_program(command: list[str]) -> "tuple[int, str]":
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{PROGRAM.name} took longer than {TIMEOUT} seconds") from None
    if done.returncode not in (0, STATUS_NO_COUNTER):
        raise BenchError(f"{PROGRAM.name} ended with status {done.returncode}\n{done.stderr.decode(errors='replace')}")
    return done.returncode, done.stdout.decode()


# ---- callgrind ----


def repeated() -> dict[int, int]:
    """Address of each REP instruction -> that of the one before it."""
    listing = subprocess.run(["objdump", "-d", PROGRAM], capture_output=True, check=True).stdout.decode()
    before, found = 0, {}
    for address, code in re.findall(r"^ +([0-9a-f]+):\t(?:[0-9a-f]{2} )+ *\t(.*)$", listing, re.MULTILINE):
        if code.startswith("rep "):
            found[int(address, 16)] = before
        before = int(address, 16)
    return found


def read_part(part: str, repeats: dict[int, int]) -> Costs:
    """Instructions by function. Callgrind counts a REP instruction once a round, a CPU retires it once in all."""
    costs: dict[str, dict[int, int]] = {}
    function, is_call = "", False
    for line in part.splitlines():
        if line.startswith("fn="):
            function = line[3:]
        elif line.startswith("calls="):
            is_call = True  # the next line's cost is that of the function called, counted there
        elif match := re.match(r"0x([0-9a-f]+) \d+ (\d+)$", line):
            if not is_call:
                at = costs.setdefault(function, {})
                at[int(match[1], 16)] = at.get(int(match[1], 16), 0) + int(match[2])
            is_call = False
    for at in costs.values():
        for address in at.keys() & repeats.keys():
            at[address] = at[repeats[address]]
    return {name: sum(at.values()) for name, at in costs.items()}


def run_callgrind() -> Run:
    result = Run()
    repeats = repeated()
    with tempfile.TemporaryDirectory(prefix="bench-mm.") as directory:
        out = Path(directory) / "out"
        options = "--instr-atstart=no --dump-instr=yes --combine-dumps=yes --compress-pos=no --compress-strings=no"
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *options.split()]
        result.read(run_program([*tool, str(PROGRAM)])[1])
        for part in re.split(r"^part: \d+$", out.read_text(), flags=re.MULTILINE):
            if match := re.search(r"^desc: Trigger: Client Request: (\S+)$", part, re.MULTILINE):
                result.counts[match[1]] = read_part(part, repeats)
    return result


# ---- perf_event_open ----


def run_perf() -> "Run | None":
    result = Run()
    for _ in range(PERF_RUNS):
        status, output = run_program([str(PROGRAM)])
        if status == STATUS_NO_COUNTER:
            return None
        result.read(output)
        for name, count in re.findall(r"^count (\S+) (\d+)$", output, re.MULTILINE):
            least = min([int(count), *result.counts.get(name, {}).values()])
            result.counts[name] = {"all": least}
    return result


def measure() -> dict[str, float]:
    """The numbers, the same in two runs."""
    tolerance = PERF_TOLERANCE
    runs = [run_perf(), run_perf()]
    if runs[0] is None:
        tolerance = 0
        with ThreadPoolExecutor(2) as pool:
            runs = list(pool.map(lambda _: run_callgrind(), range(2)))
    first, second = (run.numbers() for run in runs if run)
    for name, value in first.items():
        if abs(value - second[name]) > tolerance:
            raise BenchError(f"two runs differ: {name} {value} and {second[name]}")
    return first


# ---- judging and showing ----


def number(value: "float | None") -> str:
    if value is None:
        return ""
    return f"{value:,.1f}" if value < 1000 and value != int(value) else f"{value:,.0f}"


def table(numbers: dict[str, float]) -> str:
    lines = [f"{'name':<28}{'theirs':>15}{'ours':>12}{'limit':>8}   what"]
    for row in ROWS:
        value = numbers[row.name]
        over = "*" if row.limit is not None and value > row.limit else " "
        columns = f"{number(row.theirs):>15}{number(value):>12}{number(row.limit):>8}"
        lines.append(f"{row.name:<28}{columns} {over} {row.what}{', bytes' if row.unit == 'bytes' else ''}")
    return "\n".join(lines)


def complaints(numbers: dict[str, float]) -> list[str]:
    found = []
    for row in ROWS:
        value = numbers[row.name]
        if row.known is not None and row.limit is not None and value <= row.limit:
            found.append(f"{row.name} is {number(value)} now, within its limit: strike out what was known of it")
        elif row.limit is not None and value > max(row.limit, row.known or 0):
            found.append(f"{row.name} is {number(value)}, above its limit of {number(max(row.limit, row.known or 0))}")
    return found


def profile(name: str) -> None:
    run = run_callgrind()
    if name not in run.rows:
        raise BenchError(f"there is no row {name}")
    units = run.rows[name][0]
    for function, cost in sorted(run.counts[name].items(), key=lambda item: -item[1]):
        print(f"{cost / units:12.2f}  {function}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Counts what the operations of mm/ cost.")
    parser.add_argument("--check", action="store_true", help="fail if a row is above its limit")
    parser.add_argument("--profile", metavar="ROW", help="instructions per unit of one row, by function")
    options = parser.parse_args()
    try:
        if options.profile:
            profile(options.profile)
            return 0
        numbers = measure()
    except BenchError as error:
        print(f"bench_mm.py: {error}", file=sys.stderr)
        return 1
    print(table(numbers))
    print("\ninstructions per unit, the same in two runs; * above its limit")
    path = write_json([("host", row.name, row.unit, numbers[row.name]) for row in ROWS])
    print(f"also in {path.relative_to(TOP)}")
    found = complaints(numbers)
    for line in found:
        print(line)
    return 1 if found and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
