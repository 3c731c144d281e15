# SPDX-License-Identifier: Apache-2.0
"""Virtio devices that take more than one guest or an own console, under Debian's kernels and their drivers.

Disks and entropy are among what test_linux.py asks of each boot.
"""

import re
from functools import partial
from typing import Iterator

from harness import STAMP, TOGETHER, Failure, Test, absent, boot, came_back, equal, find
from linux_guest import PROMPT, WRONG, linux, linux_files, sha256, type_line


def console(rig: str) -> None:
    """Both ways, with more input than the driver has buffers of a byte for."""
    line = "0123456789" * 40
    conf = linux(rig, "linux", "console = virtio\n", console="hvc0")
    with boot(rig, conf=conf, volume=linux_files(rig), timeout=240) as machine:
        machine.expect(PROMPT)
        type_line(machine, "cat /sys/class/tty/console/active")
        machine.expect("^hvc0$")
        machine.send(f"x={line}; echo $((${{#x}} * 3))\n")
        machine.expect(f"^{len(line) * 3}$")
        type_line(machine, "seq 10000 12000 | sha256sum; seq 10000 12000")
        told = machine.expect("^([0-9a-f]{64})  -$")[1]
        machine.expect("^10000$")
        machine.expect("^12000$")
        machine.expect(PROMPT)  # or the echo of what is typed next may come before the end of the last line
        machine.send("poweroff -f\n")
        equal("the exit status", machine.end(), 0)
    shown = "".join(f"{number}\n" for number in range(10000, 12001))
    equal("the checksum of what was shown", told, sha256(shown.encode()))
    if shown not in machine.log:
        raise Failure("the console lost or changed something of what was shown")
    absent(WRONG, machine.log)
    came_back("linux", machine.log)


# The server's nc must not see the end of its input, for it would hang up.
NETWORK = """\
eval "$(tr ' ' '\\n' </proc/cmdline | grep -E '^(own|peer)=')"
ip addr add $own/24 dev eth0
ip link set eth0 up
if [ -z "$peer" ]; then
	mkfifo /tmp/open
	exec 3<>/tmp/open
	nc -l -p 99 <&3 >/tmp/data
	echo "server got $(sha256sum </tmp/data)"
else
	until ping -c 1 -W 1 $peer >/dev/null; do :; done
	ping -c 10 -i 0.2 $peer
	ping -c 3 -s 20000 $peer
	dd if=/dev/urandom of=/tmp/data bs=1M count=8 2>/dev/null
	echo "client sends $(sha256sum </tmp/data)"
	nc $peer 99 </tmp/data
fi
ifconfig eth0
poweroff -f
"""


def network(rig: str) -> None:
    """Two VMs at once; that the server's checksum is the client's says that every frame came, or came again."""
    conf = TOGETHER + linux(rig, "server", "net = lan\n", words="own=10.0.0.1")
    conf += linux(rig, "client", "net = lan\n", words="own=10.0.0.2 peer=10.0.0.1")
    with boot(rig, conf=conf, volume=linux_files(rig, NETWORK), timeout=400) as machine:
        equal("the exit status", machine.end(), 0)
    find(r"client\| 10 packets transmitted, 10 packets received, 0% packet loss", machine.log)
    find(r"client\| 3 packets transmitted, 3 packets received, 0% packet loss", machine.log)
    sent = find(r"client\| client sends ([0-9a-f]{64})  -", machine.log)[1]
    equal("the checksum of what the server got", find(r"server\| server got ([0-9a-f]{64})  -", machine.log)[1], sent)
    absent(WRONG, machine.log)
    counts = re.findall("net: [0-9]+ frames sent, ([0-9]+) received, ([0-9]+) dropped", machine.log)
    received, dropped = (sum(map(int, column)) for column in zip(*counts))
    if len(counts) != 2 or dropped * 1000 > received:  # both may be out of buffers at once, and one must give in
        raise Failure(f"{dropped} frames were dropped, and {received} received")
    for name in ("server", "client"):
        find(rf"{STAMP}vm {name}: every frame came back: [0-9]+ free", machine.log)


def tests() -> Iterator[Test]:
    for rig, seconds in (("el2", 40), ("svm", 60)):
        yield Test(f"{rig}: two Linux VMs at once ping each other and carry 8 MiB", partial(network, rig), seconds)
    yield Test("el2: Linux's console is virtio's, both ways", partial(console, "el2"), 25)
