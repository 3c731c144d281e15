#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Fetches Debian packages of any architecture and unpacks each into build/deps/ARCH/PACKAGE/, without root and
# without installing them: apt runs on a private state. Prints the folders. Does nothing for what is there.
#
#   tools/fetch.sh ARCH PACKAGE...      for example: tools/fetch.sh arm64 gnu-efi
#
# A package that only stands for another one (linux-image-amd64) gets the contents of that one.
set -eu

fail() {
	echo "fetch.sh: $*" >&2
	exit 1
}

[ $# -ge 2 ] || fail "usage: fetch.sh ARCH PACKAGE..."
cd "$(dirname "$0")/.."
arch=$1
shift
deps=$PWD/build/deps
state=$deps/apt-$arch
mkdir -p "$deps/$arch" "$state/state/lists/partial" "$state/cache/archives/partial"

private_apt() {
	command=$1
	shift
	"$command" -q -o Dir::State="$state/state" -o Dir::State::status="$state/status" -o Dir::Cache="$state/cache" \
		-o APT::Architecture="$arch" -o APT::Architectures::="$arch" -o APT::Sandbox::User=root \
		-o Acquire::Retries=3 "$@"
}

update() {
	[ -e "$state/updated" ] && return
	touch "$state/status"
	private_apt apt-get -q update >"$state/log" 2>&1 || { tail -n 5 "$state/log" >&2; fail "apt-get update failed"; }
	touch "$state/updated"
}

# The real package behind a name: linux-image-amd64 depends on linux-image-VERSION-amd64.
real_package() {
	case $1 in
	linux-image-*[0-9].[0-9]*) echo "$1" ;;
	linux-image-*) private_apt apt-cache depends "$1" | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1 ;;
	*) echo "$1" ;;
	esac
}

fetch() {
	target=$deps/$arch/$1
	[ -e "$target/.fetched" ] && return
	update
	real=$(real_package "$1")
	[ -n "$real" ] || fail "$1: no such package for $arch"
	work=$(mktemp -d "$deps/fetch.XXXXXX")
	if ! (cd "$work" && private_apt apt-get download "$real:$arch") >"$work/log" 2>&1 &&
		! (cd "$work" && private_apt apt-get download "$real") >"$work/log" 2>&1; then
		tail -n 5 "$work/log" >&2
		rm -rf "$work"
		rm -f "$state/updated"
		fail "$1: cannot download $real for $arch"
	fi
	mkdir "$work/x"
	dpkg -x "$work"/*.deb "$work/x"
	touch "$work/x/.fetched"
	rm -rf "$target"
	mv "$work/x" "$target"
	rm -rf "$work"
}

# One at a time: tests run in parallel.
exec 9>"$deps/lock"
flock 9
for package; do
	fetch "$package"
	echo "$deps/$arch/$package"
done
