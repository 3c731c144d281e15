# SPDX-License-Identifier: Apache-2.0
"""Debian's own kernels as guests: their files, their configuration, and the shell on their console."""

import hashlib
import tempfile
from pathlib import Path

from harness import TOP, Boot, Failure, Files, fetched, isa_of, run_logged, vm

PROMPT = "^guest# "
DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}
UART = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}
# What the kernel says of trouble; it shows warnings on the console.
WRONG = r"Call [Tt]race|WARNING:|BUG:|Oops|unchecked MSR access|clocksource.*unstable|needs a reset|cannot be loaded"
QUIET = "panic=-1 loglevel=5"


def _package(rig: str, name: str) -> Path:
    return fetched(name, ".", DEBIAN[isa_of(rig)])


def linux_files(rig: str, script: str = "", flavour: str = "cloud", tools: "dict[str, str] | None" = None) -> Files:
    """Kernel and initial RAM disk, which runs `script` and has `tools` at its top, scripts too."""
    infix = "" if flavour == "full" else f"{flavour}-"
    kernel = _package(rig, f"linux-image-{infix}{DEBIAN[isa_of(rig)]}")
    command: list[str | Path] = [TOP / "tools/mkinitrd.py", "--kernel", kernel]
    command += ["--busybox", _package(rig, "busybox-static")]
    with tempfile.TemporaryDirectory(prefix="caisson-initrd.") as name:
        directory = Path(name)
        (directory / "script").write_text(script)
        command += ["--output", directory / "initrd", "--script", directory / "script"]
        for tool, text in (tools or {}).items():
            (directory / tool).write_text(text)
            command += ["--file", f"{directory / tool}:/{tool}"]
        status, output = run_logged(command, timeout=60)
        if status != 0:
            raise Failure(f"mkinitrd.py failed: {output.strip()}")
        contents = (directory / "initrd").read_bytes()
    return {"vmlinuz": next(kernel.glob("boot/vmlinuz-*")), "initrd": contents}


def linux(rig: str, name: str, keys: str = "", memory: str = "128M", words: str = "", console: str = "") -> str:
    """A section of a configuration; `keys` are further lines of it, `words` further ones of the command line."""
    cmdline = f"console={console or UART[isa_of(rig)]} {QUIET} {words}"
    return vm(name, r"\vmlinuz", initrd=r"\initrd", cmdline=cmdline, memory=memory) + keys


def type_line(machine: Boot, text: str) -> None:
    """One command; the first line of its echo is passed over."""
    machine.send(text + "\n")
    machine.expect("\n")


def answer(machine: Boot, text: str) -> str:
    """What the command prints, up to the next prompt."""
    type_line(machine, text)
    start = machine.position
    end = machine.expect(PROMPT).start()
    return machine.log[start:end]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
