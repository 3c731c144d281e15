#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that each relative relocation's addend stands in the file at the place that it names.

gnu-efi's _relocate adds the load address to what it finds in place and ignores the addend: a byte that the linker put
over such a place would make a wrong pointer, and nothing else would tell. Usage: check-relocations.py ELF
"""

import struct
import sys
from pathlib import Path

ET_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SECTION = struct.Struct("<IIQQQQIIQQ")
RELA = struct.Struct("<QQq")
SHT_RELA, SHT_NOBITS = 4, 8


def main(path: str) -> int:
    data = Path(path).read_bytes()
    header = ET_HEADER.unpack_from(data)
    sections = [SECTION.unpack_from(data, header[6] + i * header[11]) for i in range(header[12])]
    loaded = [s for s in sections if s[3] != 0 and s[1] != SHT_NOBITS]
    checked = wrong = 0
    for section in (s for s in sections if s[1] == SHT_RELA):
        for at in range(section[4], section[4] + section[5], RELA.size):
            place, _, addend = RELA.unpack_from(data, at)
            home = next((s for s in loaded if s[3] <= place < s[3] + s[5]), None)
            value = struct.unpack_from("<q", data, home[4] + place - home[3])[0] if home else None
            checked += 1
            if value != addend:
                wrong += 1
                print(f"{path}: relocation at {place:#x}: {value} in place, addend {addend}", file=sys.stderr)
    if checked == 0:
        print(f"{path}: no relocations", file=sys.stderr)
    return 1 if wrong or checked == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
