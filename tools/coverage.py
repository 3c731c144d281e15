#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Line coverage of a folder, from what programs built with gcc --coverage have left: `make coverage-mm`.

Prints the percentage of each file, the lines that nothing reached, and the total; fails under the least one.
"""

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path


def read_counts(objects: Path, folder: str) -> dict[str, dict[int, int]]:
    """How often each line was run, by file; a header's lines add up over all that include it."""
    counts: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for data in sorted((objects / folder).rglob("*.gcno")):
        command = ["gcov", "--json-format", "--stdout", str(data)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        for report in map(json.loads, output.splitlines()):
            for file in report["files"]:
                if file["file"].startswith(folder + "/"):
                    for line in file["lines"]:
                        counts[file["file"]][line["line_number"]] += line["count"]
    return counts


def print_row(name: str, reached: int, lines: int, missed: list[int]) -> None:
    percentage = 100 * reached / lines if lines else 100
    unreached = "not reached: " + " ".join(map(str, missed)) if missed else ""
    print(f"{name:28} {lines:5} lines {percentage:6.1f} % {unreached}".rstrip())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--least", type=float, default=0, help="percentage under which to fail")
    parser.add_argument("folder", help="whose files count, from the top of the tree")
    parser.add_argument("objects", type=Path, help="where the objects are, in folders as their sources")
    arguments = parser.parse_args()
    reached_in_all = lines_in_all = 0
    for name, lines in sorted(read_counts(arguments.objects, arguments.folder).items()):
        missed = sorted(line for line, count in lines.items() if count == 0)
        print_row(name, len(lines) - len(missed), len(lines), missed)
        reached_in_all += len(lines) - len(missed)
        lines_in_all += len(lines)
    print_row("all", reached_in_all, lines_in_all, [])
    if lines_in_all == 0 or 100 * reached_in_all < arguments.least * lines_in_all:
        print(f"less than {arguments.least:g} %", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
