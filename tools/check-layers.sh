#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The floors of the house: greps every #include and fails where one goes up, where an ISA's header or #ifdef
# stands outside its folder, and where <efi.h> is used above boot/. The table is docs/ARCHITECTURE.md's.
set -eu
cd "$(dirname "$0")/.."

# What a file may include, as a shell pattern over the included file's path from the top.
allowed() {
	case $1 in
	boot/*) echo 'boot/*|hv/boot_info.h|hv/config.h|hv/builtin.h|drivers/*|lib/*' ;;
	hv/*) echo 'hv/*|arch/arch.h|mm/*|drivers/*|lib/*' ;;
	arch/arch.h) echo 'arch_types.h|mm/*|lib/*' ;;
	arch/x86_64/*) echo 'arch/x86_64/*|arch/arch.h|mm/*|drivers/*|lib/*' ;;
	arch/aarch64/*) echo 'arch/aarch64/*|arch/arch.h|mm/*|drivers/*|lib/*' ;;
	mm/*) echo 'mm/*|lib/*' ;;
	drivers/*) echo 'drivers/*|lib/*' ;;
	lib/*) echo 'lib/*' ;;
	guests/*) echo 'guests/*' ;;
	esac
}

# The included file's path from the top. A bare name is one of the same folder, or of the ISA's by -Iarch/<isa>.
resolve() {
	file=$1 included=$2
	folder=$(dirname "$file")
	case $file in
	guests/*)
		for place in guests "$folder" guests/x86_64 guests/aarch64; do
			[ -e "$place/$included" ] && { echo "$place/$included"; return; }
		done
		;;
	arch/*/*) [ -e "$included" ] || { echo "$folder/$included"; return; } ;;
	esac
	if [ ! -e "$included" ] && [ -e "$folder/$included" ]; then
		echo "$folder/$included"
	else
		echo "$included"
	fi
}

matches() {
	path=$1
	while read -r pattern; do
		# shellcheck disable=SC2254 # a pattern on purpose
		case $path in
		$pattern) return 0 ;;
		esac
	done
	return 1
}

quoted() {
	grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' --include='*.[chS]' boot hv arch mm drivers lib guests
}

angled() {
	grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*<' --include='*.[chS]' boot hv arch mm drivers lib guests
}

check() {
	quoted | while IFS=: read -r file line text; do
		included=$(echo "$text" | sed 's/^[^"]*"\([^"]*\)".*/\1/')
		path=$(resolve "$file" "$included")
		allowed "$file" | tr '|' '\n' | matches "$path" || echo "$file:$line: must not include \"$included\""
	done
	angled | grep -vE '<std(arg|bool|def|int|noreturn|align)\.h>' | grep -vE '^boot/[^:]*:.*<efi' |
		sed 's/\(:[0-9]*:\).*<\(.*\)>.*/\1 must not include <\2>/'
	grep -rnE '^[[:space:]]*#.*__(x86_64|aarch64|arm|riscv)' --include='*.[chS]' boot hv mm drivers |
		sed 's/\(:[0-9]*:\).*/\1 an #ifdef on the ISA belongs into arch\/ or lib\//'
}

problems=$(check)
if [ -n "$problems" ]; then
	echo "$problems"
	echo "check-layers: $(echo "$problems" | wc -l) includes break the layers" >&2
	exit 1
fi
echo "check-layers: $(quoted | wc -l) includes, none goes up"
