#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The table of function names for backtraces (lib/symbols.h), and the checks of a linked image. Called by the
# Makefile; NM and READELF name the ISA's tools.
#
#   symbols.sh empty          a table without entries, for the first link
#   symbols.sh table ELF      the table for the functions of ELF
#   symbols.sh check P1 ELF   fails unless ELF's text is that of P1, nothing is undefined, and every relocation is
#                             one that gnu-efi's _relocate applies (R_*_RELATIVE)
set -eu

NM=${NM:-nm}
READELF=${READELF:-readelf}

fail() {
	echo "symbols.sh: $*" >&2
	exit 1
}

# "address name" of each function, sorted by address, one name an address.
functions() {
	"$NM" --defined-only "$1" | LC_ALL=C sort | awk '$2 ~ /^[Tt]$/ && $3 !~ /^\./ && $3 !~ /^(text|image|rodata)_/ \
		&& $3 !~ /^(ImageBase|pe_header|coff_header|optional_header|extra_header_fields|section_table|_text|_etext)$/ \
		&& $1 != last { print $1, $3; last = $1 }'
}

# Reads "address name" lines, writes assembly. image_start is at 0 in the link.
table() {
	awk '
	function object(name) {
		printf "\t.balign 8\n\t.globl %s\n\t.hidden %s\n\t.type %s, STT_OBJECT\n%s:\n", name, name, name, name
	}
	{ address[NR] = $1; name[NR] = $2 }
	END {
		print "\t.section .symbols, \"a\""
		object("symbol_count"); printf "\t.long %d\n", NR
		object("symbol_table")
		offset = 0
		for (i = 1; i <= NR; i++) {
			printf "\t.long 0x%s, %d\n", substr(address[i], length(address[i]) - 7), offset
			offset += length(name[i]) + 1
		}
		object("symbol_names")
		for (i = 1; i <= NR; i++) {
			printf "\t.asciz \"%s\"\n", name[i]
		}
		print "\t.byte 0\n\t.section .note.GNU-stack, \"\", %progbits"
	}'
}

check() {
	"$NM" --undefined-only "$2" | grep -q . && fail "$2: undefined: $("$NM" --undefined-only "$2" | tr '\n' ' ')"
	[ "$(functions "$1")" = "$(functions "$2")" ] || fail "the table of names moved the text of $2"
	# Columns of readelf -rW: offset, info, type, addend; the heading lines have no 16-digit offset.
	odd=$("$READELF" -rW "$2" | awk '$1 ~ /^[0-9a-f]{16}$/ && $3 !~ /^R_(X86_64|AARCH64)_RELATIVE$/ { print $3 }' | sort -u)
	[ -z "$odd" ] || fail "$2: relocations that _relocate does not apply: $odd"
	"${0%/*}/check-relocations.py" "$2" || fail "$2: relocations and contents disagree"
}

case ${1:-} in
empty) : | table ;;
table) functions "$2" | table ;;
check) check "$2" "$3" ;;
*) fail "usage: symbols.sh empty | table ELF | check PASS1 ELF" ;;
esac
