#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Boots the disk image on a rig, streams the serial log, and exits with what the log told.

What ./run-qemu.sh runs. Leaves nothing behind: neither processes nor files nor a changed terminal.
"""

import argparse
import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import termios
import time
import traceback
from pathlib import Path
from typing import Iterator

from rig_emulators import RIGS, Launch, Options, Rig, UsageError, choose_rig, missing_packages
from rig_serial import Emulator, LogWatch

TOP = Path(__file__).resolve().parent.parent
BUILD = TOP / "build"

STATUS_USAGE, STATUS_HYPERVISOR, STATUS_TIMEOUT, STATUS_INTERRUPTED = 2, 3, 124, 130

POWER_OFF_SECONDS = 10  # from the end line until the emulator must have ended by itself
QUIET_SECONDS = 3  # of silence after a panic, so that all of it is shown
FIRMWARE_SECONDS = 0.5  # that the firmware may talk after a boot error
ESCAPE_KEY, ESCAPE_NAME = b"\x1d", "Ctrl-]"
INPUT_CHUNK = 256  # bytes from the terminal at once

DESCRIPTION = "Boots Caisson's disk image in an emulator and streams the serial log."
EPILOGUE = f"""\
The terminal's input goes to the guest's console; {ESCAPE_NAME} ends the run.

exit status:
  0    all guests ended by themselves
  1    one or more were stopped for a fault
  2    wrong usage, or something is missing on this machine
  3    the hypervisor itself failed: error before the takeover, panic, or the emulator ended under it
  124  the time of --timeout was over
  130  interrupted with {ESCAPE_NAME} or a signal
"""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> "None":  # type: ignore[override]
        raise UsageError(f"{message} (see --help)")


def memory_size(text: str) -> int:
    match = re.fullmatch(r"([0-9]+)([MG]?)", text, re.IGNORECASE)
    if not match or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is no size such as 512M or 2G")
    return int(match[1]) * (1024 if match[2].upper() == "G" else 1)


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is no positive number")
    return int(text)


def parse(arguments: list[str]) -> tuple[Options, bool]:
    """The options, and whether the rig was named."""
    rigs = "\n".join(f"  {name:<12} {rig.what}" for name, rig in RIGS.items())
    parser = Parser(
        prog="run-qemu.sh",
        description=f"{DESCRIPTION}\n\nrigs:\n{rigs}",
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--rig", choices=RIGS, help="the rig; without it the best one that this machine offers")
    add("--image", type=Path, metavar="FILE", help="boot a copy of FILE instead of build/caisson-ISA.img")
    add("--volume", type=Path, metavar="DIR", help="copy what is in DIR onto the image")
    add("--conf", type=Path, metavar="FILE", help="FILE becomes \\EFI\\caisson\\caisson.conf on the image")
    add("--cpus", type=positive, default=1, metavar="N", help="CPUs of the machine (1)")
    add("--mem", type=memory_size, metavar="SIZE", help="memory of the machine, 512M or 2G (1G)", default=1024)
    add("--cpu", metavar="MODEL", help="CPU model, in the emulator's words")
    add("--log", type=Path, metavar="FILE", help="write the serial log to FILE too")
    add("--timeout", type=float, metavar="S", help="end the run after S seconds, exit status 124")
    add("--icount", action="store_true", help="count instructions instead of time: every run is the same")
    add("--plugin", metavar="SPEC", help="a plugin of QEMU's TCG and its options, as QEMU takes them")
    add("--gdb", action="store_true", help="wait for a debugger on port 1234 before the first instruction (QEMU)")
    add("--screen", action="store_true", help="show the machine's screen, in a window or by VNC")
    add("--usb", action="store_true", help="the image is a USB stick, not a disk (QEMU)")
    add("--ramdisk", action="store_true", help="the image is a RAM disk, whose timing can be counted (QEMU)")
    add("--direct", action="store_true", help="no disk, whose timing nobody can count: the EFI file itself (QEMU)")
    add("--gic", type=int, choices=(2, 3), help="version of the interrupt controller (3; el2 only)")
    add("--acpi-off", action="store_true", help="the firmware gives a device tree instead of ACPI (el2 only)")
    add("--no-el2", action="store_true", help="a CPU without EL2, to see what the image says then (el2 only)")
    given = parser.parse_args(arguments)

    rig = given.rig or choose_rig()[0]
    for option in RIGS[rig].refuses:
        if getattr(given, option):
            raise UsageError(f"rig {rig} has no --{option.replace('_', '-')}")
    if given.direct and (given.volume or given.conf or given.image or given.usb):
        raise UsageError("--direct has no disk: neither --volume nor --conf, --image or --usb goes with it")
    options = Options(
        rig=rig,
        image=given.image,
        volume=given.volume,
        conf=given.conf,
        cpus=given.cpus,
        memory=given.mem,
        cpu=given.cpu,
        log=given.log,
        timeout=given.timeout,
        icount=given.icount,
        plugin=given.plugin,
        gdb=given.gdb,
        screen=given.screen,
        usb=given.usb,
        ramdisk=given.ramdisk,
        direct=given.direct,
        gic=given.gic or 3,
        acpi=not given.acpi_off,
        el2=not given.no_el2,
    )
    return options, given.rig is not None


def require(options: Options, rig: Rig) -> Path:
    """Everything that the run needs is there; answers the disk image."""
    if missing := missing_packages(rig.needs):
        raise UsageError(f"rig {options.rig} needs what is not installed; as root: apt-get install {' '.join(missing)}")
    if options.conf and not options.conf.is_file():
        raise UsageError(f"--conf {options.conf}: no such file")
    if options.volume and not options.volume.is_dir():
        raise UsageError(f"--volume {options.volume}: no such directory")
    if options.log and not options.log.absolute().parent.is_dir():
        raise UsageError(f"--log {options.log}: no such directory")
    if options.image:
        if not options.image.is_file():
            raise UsageError(f"--image {options.image}: no such file")
        return options.image
    image = BUILD / rig.isa / "caisson.efi" if options.direct else BUILD / f"caisson-{rig.isa}.img"
    if not image.exists():
        raise UsageError(f"{image} is not built yet: make usb")
    return image


# ---- the disk image ----


def mtools(*command: str) -> None:
    environment = dict(os.environ, MTOOLS_SKIP_CHECK="1")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UsageError(f"{' '.join(command)}: {done.stderr.strip()}")


def copy_image(original: Path, options: Options, directory: Path) -> Path:
    """A copy with the volume and the configuration on it; larger than the original where they need that."""
    image = directory / original.name
    partition = f"{image}@@1M"
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", original, image], check=True)
    if options.volume:
        entries = sorted(str(entry) for entry in options.volume.iterdir())
        needed = sum(entry.stat().st_size for entry in options.volume.rglob("*") if entry.is_file())
        if needed > original.stat().st_size // 2:
            remake_image(image, options, directory)
        elif entries:
            mtools("mcopy", "-i", partition, "-s", "-n", "-D", "o", *entries, "::/")
    if options.conf:
        mtools("mcopy", "-i", partition, "-n", "-D", "o", str(options.conf), "::/EFI/caisson/caisson.conf")
    return image


def remake_image(image: Path, options: Options, directory: Path) -> None:
    """The volume does not fit: a new image of the right size with the same EFI file."""
    name = {"x86_64": "BOOTX64.EFI", "aarch64": "BOOTAA64.EFI"}[RIGS[options.rig].isa]
    efi = directory / name
    mtools("mcopy", "-i", f"{image}@@1M", f"::/EFI/BOOT/{name}", str(efi))
    assert options.volume
    command: list[str | Path] = [TOP / "tools/mkimage.sh", "--efi", efi, "--name", name]
    command += ["--output", image, "--volume", options.volume]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UsageError(done.stderr.strip())


# ---- the terminal ----


@contextlib.contextmanager
def terminal_input() -> Iterator[int]:
    """The descriptor that input comes from, -1 for none. A terminal gives single keys, and is restored."""
    descriptor = 0
    if not os.isatty(descriptor):
        yield descriptor
        return
    if os.tcgetpgrp(descriptor) != os.getpgrp():
        yield -1  # in the background
        return
    before = termios.tcgetattr(descriptor)
    keys = termios.tcgetattr(descriptor)
    keys[0] &= ~(termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON | termios.ISTRIP)
    keys[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
    try:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, keys)
        say(f"{ESCAPE_NAME} ends the run; all other keys go to the guest's console")
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def say(text: str) -> None:
    print(f"run-qemu.sh: {text}", flush=True)


def write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


# ---- the run ----


class Run:
    """Carries bytes both ways until the log or the emulator says that it is over."""

    def __init__(self, emulator: Emulator, options: Options, keyboard: int):
        self.emulator = emulator
        self.watch = LogWatch()
        self.keyboard = keyboard
        self.typed = b""  # not yet taken by the emulator
        self.log = open(options.log, "wb", buffering=0) if options.log else None
        self.start = self.last_output = time.monotonic()
        self.end_at = self.start + options.timeout if options.timeout is not None else float("inf")
        self.status_at = 0.0  # when the log told the status

    def run(self) -> int:
        while (status := self.over()) is None:
            self.wait()
        return status

    def over(self) -> "int | None":
        now = time.monotonic()
        if self.watch.status is None:
            return STATUS_TIMEOUT if now >= self.end_at else None
        self.status_at = self.status_at or now
        patience = POWER_OFF_SECONDS if self.watch.taken else FIRMWARE_SECONDS
        quiet = not self.watch.clean_end and now - self.last_output >= QUIET_SECONDS
        return self.watch.status if quiet or now - self.status_at >= patience else None

    def wait(self) -> None:
        readers = [self.emulator.output]
        # Nothing is typed before the guests are there: any key would take the firmware into its menu.
        if self.keyboard >= 0 and not self.typed and self.watch.taken:
            readers.append(self.keyboard)
        writers = [self.emulator.input] if self.typed else []
        ready, writable, _ = select.select(readers, writers, [], 0.25)
        if self.keyboard in ready:
            self.read_keyboard()
        if writable:
            self.typed = self.typed[self.emulator.write(self.typed) :]
        if self.emulator.output in ready:
            self.read_output()

    def read_keyboard(self) -> None:
        data = os.read(self.keyboard, INPUT_CHUNK)
        if not data:
            self.keyboard = -1
        elif os.isatty(self.keyboard) and ESCAPE_KEY in data:
            raise KeyboardInterrupt
        self.typed = data

    def read_output(self) -> None:
        data = self.emulator.read()
        if data is None:
            return
        if not data:
            raise EOFError
        self.last_output = time.monotonic()
        shown = self.watch.feed(data)
        write_all(1, shown)
        if self.log:
            write_all(self.log.fileno(), shown)


def emulator_messages(directory: Path) -> str:
    """What the emulator itself said that explains a failure."""
    lines: list[str] = []
    for name, telling in (("emulator.log", "qemu"), ("bochs.log", "FAIL"), ("bochs.log", "PANIC")):
        with contextlib.suppress(OSError):
            text = (directory / name).read_text(errors="replace").splitlines()
            lines += [line for line in text if telling in line][-5:]
    return "\n".join(lines)


def run(launch: Launch, options: Options, directory: Path) -> int:
    try:
        emulator = Emulator(launch.argv, directory, launch.serial)
    except EOFError as error:
        say(f"{error}\n{emulator_messages(directory)}")
        return STATUS_HYPERVISOR
    with contextlib.ExitStack() as stack:
        stack.callback(emulator.end)
        keyboard = stack.enter_context(terminal_input())
        machine = Run(emulator, options, keyboard)
        status: "int | None"
        try:
            status = machine.run()
        except EOFError:
            machine.watch.finish()
            status = machine.watch.status
        reason = machine.watch.reason
        messages = emulator_messages(directory)
    if status is None:
        status, reason = STATUS_HYPERVISOR, "the emulator ended before the guests did"
    elif status == STATUS_TIMEOUT:
        reason = f"timeout after {options.timeout:g} seconds"
    print()
    if status == STATUS_HYPERVISOR and messages:
        say(f"the emulator says:\n{messages}")
    say(f"{reason} (exit status {status})")
    return status


def interrupted(number: int, frame: object) -> None:
    del frame
    sys.exit(128 + number)


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    try:
        options, named = parse(sys.argv[1:])
        rig = RIGS[options.rig]
        original = require(options, rig)
        (BUILD / "run").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{options.rig}.", dir=BUILD / "run") as name:
            directory = Path(name)
            image = copy_image(original, options, directory)
            launch = rig.launch(options, image, directory)
            why = "as asked" if named else choose_rig()[1]
            say(f"rig {options.rig} ({rig.what}), {why}")
            for note in launch.notes:
                say(note)
            say(f"in {directory}: {launch.command_line()}")
            return run(launch, options, directory)
    except UsageError as error:
        print(f"run-qemu.sh: {error}", file=sys.stderr)
        return STATUS_USAGE
    except KeyboardInterrupt:
        say("interrupted")
        return STATUS_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return STATUS_INTERRUPTED
    except Exception:  # a mistake in here must not look like a guest's fault, which is status 1
        traceback.print_exc()
        return STATUS_USAGE


if __name__ == "__main__":
    sys.exit(main())
