#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes a disk image that firmware boots from: GPT with one FAT32 EFI system partition. Needs neither root nor loop mounts.
#
#   tools/mkimage.sh --efi FILE --name BOOTX64.EFI --output IMG [--conf FILE] [--volume DIR] [--size MIB]
#
# --conf becomes \EFI\caisson\caisson.conf, the contents of --volume are copied to the top of the volume. The image is
# 64 MiB, or larger where the volume's files need it.
set -eu

# sfdisk and mkfs.vfat live where a user's PATH may not reach.
PATH=$PATH:/usr/sbin:/sbin

fail() {
	echo "mkimage.sh: $*" >&2
	exit 2
}

efi='' name='' output='' conf='' volume='' size=64
while [ $# -gt 0 ]; do
	[ $# -ge 2 ] || fail "$1: its value is missing"
	case $1 in
	--efi) efi=$2 ;;
	--name) name=$2 ;;
	--output) output=$2 ;;
	--conf) conf=$2 ;;
	--volume) volume=$2 ;;
	--size) size=$2 ;;
	*) fail "unknown option $1" ;;
	esac
	shift 2
done
if [ -z "$efi" ] || [ -z "$name" ] || [ -z "$output" ]; then
	fail "usage: mkimage.sh --efi FILE --name BOOTX64.EFI --output IMG ..."
fi
for file in "$efi" ${conf:+"$conf"}; do
	[ -f "$file" ] || fail "$file: no such file"
done
if [ -n "$volume" ]; then
	[ -d "$volume" ] || fail "$volume: no such folder"
	needed=$(($(du -smL "$volume" | cut -f1) * 11 / 10 + 16))
	[ "$needed" -le "$size" ] || size=$needed
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fat=$work/fat
truncate -s "${size}M" "$fat"
mkfs.vfat --invariant -F 32 -n CAISSON "$fat" >/dev/null
mmd -i "$fat" ::/EFI ::/EFI/BOOT ::/EFI/caisson
mcopy -i "$fat" "$efi" "::/EFI/BOOT/$name"
if [ -n "$volume" ]; then
	for entry in "$volume"/*; do
		[ -e "$entry" ] || continue
		# Quietly into the folders that are there, over files that are there.
		mcopy -s -n -D o -i "$fat" "$entry" ::/
	done
fi
if [ -n "$conf" ]; then
	mcopy -n -D o -i "$fat" "$conf" ::/EFI/caisson/caisson.conf
fi

# The first and last MiB of the disk are the partition tables'.
truncate -s "$((size + 2))M" "$work/disk"
printf 'label: gpt\nlabel-id: 6C616973-736F-4E00-8000-000000000001\nfirst-lba: 2048\nstart=2048, size=%d, type=U, name="Caisson"\n' \
	$((size * 2048)) | sfdisk -q "$work/disk"
dd if="$fat" of="$work/disk" bs=1M seek=1 conv=sparse,notrunc status=none
mv "$work/disk" "$output"
