#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Installs the Debian 12 packages that building, running and testing need, if any is missing: as root with
# apt-get, else it prints the line to type and fails. Called by the Makefile; quick when all is there.
set -eu

build="gcc libc6-dev binutils gnu-efi gcc-aarch64-linux-gnu binutils-aarch64-linux-gnu libc6-dev-arm64-cross mtools dosfstools fdisk"
run="qemu-system-x86 qemu-system-arm ovmf qemu-efi-aarch64 bochs bochs-term vgabios python3 cpio"
test="libcmocka-dev gdb-multiarch clang libclang-rt-14-dev clang-format clang-tidy cppcheck shellcheck black mypy valgrind lz4"
# Needed to fetch what is not installed but unpacked (tools/fetch.sh).
fetch="apt dpkg ca-certificates"

# shellcheck disable=SC2086 # lists of words
installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $build $run $test $fetch 2>/dev/null |
	sed -n 's/ installed$//p') || true
missing=
for package in $build $run $test $fetch; do
	case "
$installed
" in
	*"
$package
"*) ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "deps.sh: packages are missing. As root:" >&2
	echo "apt-get update && apt-get install -y --no-install-recommends$missing" >&2
	exit 2
fi
echo "deps.sh: installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get -q -o Acquire::Retries=3 update >&2
# shellcheck disable=SC2086 # a list of words
apt-get -q -o Acquire::Retries=3 install -y --no-install-recommends $missing </dev/null >&2
