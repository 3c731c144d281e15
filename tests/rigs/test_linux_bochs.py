# SPDX-License-Identifier: Apache-2.0
"""Debian's cloud kernel, unmodified, on the rigs that Bochs emulates: Intel VMX, and SVM as a second opinion."""

import random
import re
from functools import partial
from typing import Iterator

from harness import STAMP, Failure, Test, boot, equal, find, vm
from linux_guest import PROMPT, linux_files, sha256, type_line

HALF = 1 << 17  # bytes of the disk
# Without the kernel's tests of its own ciphers, which take half of the time; and without XSAVEC, by which Bochs 2.7
# stores the AVX registers 160 bytes below where its XRSTOR looks for them, so that programs crash now and then.
WORDS = "console=ttyS0 quiet panic=-1 cryptomgr.notests clearcpuid=xsavec"
# Sleeps from the edge of a second of the RTC: of its seconds four are over after 4.9 of the kernel's, five after 5.1.
SCRIPT = f"""\
free
dd if=/dev/vda of=/dev/vda bs={HALF} count=1 seek=1 oflag=direct
echo 3 >/proc/sys/vm/drop_caches
sha256sum /dev/vda
clock=/sys/class/rtc/rtc0/since_epoch
read start <$clock
edge=$start
while [ $edge = $start ]; do read edge <$clock; done
sleep 4.9
read four <$clock
sleep 0.2
read five <$clock
echo slept $((four - edge)) $((five - edge))
cat /proc/interrupts /sys/devices/system/cpu/vulnerabilities/spectre_v2
dmesg | grep -iE 'linux version|warn|call trace|bug:|oops|unchecked msr|unstable|needs a reset' | sed 's/^/log: /'
"""
# What the kernel complains of on the bare machine too: Bochs 2.7's Skylake has no IA32_SPEC_CTRL, its Ryzen no
# microcode. Its Ice Lake has what it takes, and a guest uses it.
RETBLEED = "RETBleed: WARNING: Spectre v2 mitigation leaves CPU vulnerable to RETBleed attacks"
SRSO = "Speculative Return Stack Overflow: WARNING: See https://kernel.org/"
NOTHING = "$"
# rig, options, how often it boots, what it may complain of, how it says that it keeps Spectre away, seconds
MACHINES = [
    ("vmx", (), 1, RETBLEED, "Retpolines.*", 25),
    ("vmx", ("--cpu", "corei7_icelake_u"), 2, NOTHING, "Enhanced / Automatic IBRS; IBPB: conditional.*", 35),
    ("svm-bochs", (), 1, SRSO, "Retpolines.*", 25),
]


def check(image: bytes, complaint: str, spectre: str, shown: str) -> None:
    """What the kernel and SCRIPT have said up to the prompt."""
    find("Mem: +[1-9][0-9]+ .*", shown)
    find(sha256(2 * image[:HALF]) + "  /dev/vda", shown)
    find("slept 4 5", shown)
    for pattern in (" *[0-9]+: +[1-9][0-9]* +IO-APIC .* virtio0", "LOC: +[1-9][0-9]* .*", "ERR: +0"):
        find(pattern, shown)
    find(f"Mitigation: {spectre}", shown)
    find("log: .*Linux version.*", shown)  # or there would be no log to look into
    told = [line for line in re.findall("^log: .*", shown, re.MULTILINE) if "Linux version" not in line]
    if wrong := [line for line in told if complaint not in line]:
        raise Failure(f"the kernel complains: {wrong}")


def linux(rig: str, options: tuple[str, ...], boots: int, complaint: str, spectre: str) -> None:
    files = linux_files(rig, SCRIPT)
    image = random.Random(1).randbytes(2 * HALF)
    files["disk.img"] = image
    conf = vm("linux", r"\vmlinuz", initrd=r"\initrd", cmdline=WORDS, memory="96M", disk=r"\disk.img")
    with boot(rig, *options, conf=conf, volume=files, timeout=900) as machine:
        for number in range(boots):
            if number > 0:
                type_line(machine, "reboot -f")
                machine.expect(rf"{STAMP}vm linux: restarts: asked for a reset")
            start = machine.position
            machine.expect(PROMPT)
            check(image, complaint, spectre, machine.log[start : machine.position])
        type_line(machine, "uname -a")
        machine.expect("^Linux .* x86_64 GNU/Linux$")
        type_line(machine, "poweroff -f")
        equal("the exit status", machine.end(), 0)
    find(rf"{STAMP}vm linux: ended: turned itself off; [0-9]+ lazy faults filled", machine.log)
    equal("how often every frame came back", machine.log.count("vm linux: every frame came back"), boots)


def tests() -> Iterator[Test]:
    for rig, options, boots, complaint, spectre, seconds in MACHINES:
        name = " ".join([rig, *(option.removeprefix("--") for option in options)])
        sentence = f"Debian's kernel boots{' twice' if boots == 2 else ''}, sleeps as it should and turns itself off"
        yield Test(f"{name}: {sentence}", partial(linux, rig, options, boots, complaint, spectre), seconds)
