# SPDX-License-Identifier: Apache-2.0
"""Mistakes: each costs one line that says what and where, and the machine goes back to the firmware or goes on."""

import re
import shutil
import struct
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import Iterator

from harness import BUILD, STAMP, TOP, Files, Test, equal, find, one_line, run, vm

BUILTIN_GUESTS = " ".join(sorted(path.stem for path in TOP.glob("guests/*.c")))
CONF = r"caisson: \EFI\caisson\caisson.conf"

# What is wrong, configuration, what is on the volume, the one line
MISTAKES: list[tuple[str, str, Files, str]] = [
    (
        "an unknown key",
        "# a comment\n[vm one]\nkernal = builtin:hello\n",
        {},
        f'{CONF}:3: unknown key "kernal"; known: kernel initrd cmdline memory backing pages vcpus disk net console '
        "cpu-time",
    ),
    (
        "a value that is none",
        "[vm one]\nkernel = builtin:hello\nbacking = eager\n",
        {},
        f'{CONF}:3: backing: unknown value "eager"; write lazy, populate or linear',
    ),
    (
        "a configuration without VMs",
        "# nothing\n",
        {},
        rf"{CONF}: no VM is configured; add a section [vm NAME] with a line kernel = \PATH",
    ),
    (
        "a kernel that is not there",
        vm("one", "builtin:hello") + vm("two", r"\guests\nobody.bin"),
        {},
        rf"{CONF}:5: kernel: \guests\nobody.bin cannot be opened: not found",
    ),
    (
        "an initrd that is a folder",
        "[vm one]\nkernel = builtin:hello\ninitrd = \\folder\n",
        {"folder/file": b"x"},
        rf"{CONF}:3: initrd: \folder is a folder; name a file",
    ),
    (
        "an empty kernel",
        "[vm one]\nkernel = \\empty\n",
        {"empty": b""},
        rf"{CONF}:2: kernel: \empty is empty",
    ),
    (
        "an unknown built-in guest",
        vm("one", "builtin:nobody"),
        {},
        f'{CONF}:2: kernel: there is no built-in guest "nobody"; there are: {BUILTIN_GUESTS}',
    ),
]


def mistake(rig: str, conf: str, volume: Files, line: str, seconds: float) -> None:
    machine = run(rig, conf=conf, volume=volume, timeout=60 + 5 * seconds)
    equal("the exit status", machine.status, 3)
    one_line(machine.log, line)
    find(re.escape(f"run-qemu.sh: {line} (exit status 3)"), machine.log)


def memory_short() -> None:
    conf = "[vm big]\nkernel = builtin:hello\nmemory = 3G\nbacking = linear\n"
    machine = run("el2", "--mem", "1G", conf=conf)
    equal("the exit status", machine.status, 3)
    line = find(
        re.escape(f"{CONF}:3: memory: [vm big] wants 3072 MiB and this machine has ")
        + r"[0-9]+ MiB free; take less, or backing = lazy",
        machine.log,
    )
    one_line(machine.log, line[0])


def truncated() -> None:
    """A file whose directory entry promises more than the volume holds of it."""
    content = b"U" * 65536
    with tempfile.TemporaryDirectory() as name:
        image = Path(name) / "disk.img"
        shutil.copyfile(BUILD / "caisson-aarch64.img", image)
        file = Path(name) / "cut.bin"
        file.write_bytes(content)
        subprocess.run(["mcopy", "-i", f"{image}@@1M", file, "::/cut.bin"], check=True)
        data = bytearray(image.read_bytes())
        entry = data.index(b"CUT     BIN")  # 8.3 name; the size is at offset 28 of the entry
        equal("the size in the directory", struct.unpack_from("<I", data, entry + 28)[0], len(content))
        struct.pack_into("<I", data, entry + 28, 4 << 20)
        image.write_bytes(data)
        machine = run("el2", "--image", str(image), conf="[vm one]\nkernel = \\cut.bin\n")
    equal("the exit status", machine.status, 3)
    line = find(re.escape(rf"{CONF}:2: kernel: \cut.bin is truncated: ") + "[0-9]+ of 4194304 bytes.*", machine.log)
    one_line(machine.log, line[0])


def without_virtualization(rig: str, cpu: str, pattern: str, seconds: float) -> None:
    machine = run(rig, "--cpu", cpu, timeout=60 + 5 * seconds)
    equal("the exit status", machine.status, 3)
    one_line(machine.log, find(f"caisson: {pattern}", machine.log)[0])


def not_started() -> None:
    """What only the hypervisor can see costs that VM alone."""
    conf = vm("two-cpus", "builtin:hello", vcpus=2)
    conf += vm("no-kernel", r"\text", memory="8M")
    conf += vm("good", "builtin:hello")
    machine = run("svm", conf=conf, volume={"text": b"no kernel at all\n" * 1000})
    equal("the exit status", machine.status, 1)
    find(rf"{STAMP}vm two-cpus: not started: vcpus = 2: this version runs one vCPU a VM", machine.log)
    neither = r"\\text: neither a bzImage nor an ELF file with a PVH note nor a multiboot kernel"
    find(rf"{STAMP}vm no-kernel: not started: {neither}", machine.log)
    find(rf"{STAMP}vm good: ended: turned itself off; .*", machine.log)


def tests() -> Iterator[Test]:
    for what, conf, volume, line in MISTAKES:
        yield Test(f"el2: {what} costs one line and status 3", partial(mistake, "el2", conf, volume, line, 3), 3)
    what, conf, volume, line = MISTAKES[0]
    yield Test(f"svm: {what} costs one line and status 3", partial(mistake, "svm", conf, volume, line, 12), 12)
    yield Test("el2: memory that is not there costs one line and status 3", memory_short, 3)
    yield Test("el2: a truncated kernel costs one line and status 3", truncated, 3)
    for rig, cpu, pattern, seconds in (
        ("svm", "qemu64,-svm", ".*: neither VMX nor SVM; if the CPU has it, the firmware's setup can turn it on", 12),
        ("svm", "qemu64,+svm", r"SVM: this CPU has no nested paging \(CPUID 8000_000A EDX bit 0\)", 12),
        ("vmx", "corei5_lynnfield_750", 'VMX: this CPU lacks "Unrestricted guest" .*', 25),
    ):
        test = partial(without_virtualization, rig, cpu, pattern, seconds)
        yield Test(f"{rig} cpu {cpu}: what the CPU lacks is named in one line, status 3", test, seconds)
    yield Test("svm: a VM that cannot be built costs a line, the next one runs", not_started, 8)
