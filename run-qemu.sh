#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Boots the disk image in an emulator and streams the serial log: the door to every rig. All the work is in
# tools/rig.py; this wrapper only makes sure that there is a Python to run it.

top=$(dirname "$(readlink -f "$0")")
if [ ! -x /usr/bin/python3 ]; then
	echo "run-qemu.sh: python3 is missing: apt-get install python3" >&2
	exit 2
fi
exec /usr/bin/python3 "$top/tools/rig.py" "$@"
