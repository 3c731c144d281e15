#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Writes the assembly file that embeds the built-in guests: called by the Makefile with the guests' .bin files,
# prints to standard output. The table is the one of hv/builtin.h; a guest's name is its file's name.
set -eu

name_of() {
	basename "$1" .bin
}

echo '	.section .rodata.builtin, "a"'
for file; do
	printf '\t.balign 4096\n.Lstart_%s:\n\t.incbin "%s"\n.Lend_%s:\n' "$(name_of "$file")" "$file" "$(name_of "$file")"
	printf '.Lname_%s:\n\t.asciz "%s"\n' "$(name_of "$file")" "$(name_of "$file")"
done
cat <<'END'
	.section .data.rel.ro.builtin, "aw"
	.balign 8
	.globl builtin_guests
	.hidden builtin_guests
	.type builtin_guests, STT_OBJECT
builtin_guests:
END
count=0
for file; do
	name=$(name_of "$file")
	printf '\t.quad .Lname_%s, .Lstart_%s, .Lend_%s\n' "$name" "$name" "$name"
	count=$((count + 1))
done
cat <<END
	.section .rodata.builtin_count, "a"
	.balign 4
	.globl builtin_guest_count
	.hidden builtin_guest_count
	.type builtin_guest_count, STT_OBJECT
builtin_guest_count:
	.long $count
	.section .note.GNU-stack, "", %progbits
END
