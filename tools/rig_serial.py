# SPDX-License-Identifier: Apache-2.0
"""The emulator's process, its serial line, and what the lines on it mean.

Used by rig.py, and through it by every test. Ends only the process that it started, and always does.
"""

import ctypes
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

TERMINATE_SECONDS = 3  # between asking an emulator to end and making it
CONNECT_SECONDS = 120  # until Bochs, which first clears its memory, has connected its serial port
LINE_MAX = 4096  # bytes of an unfinished line that are kept
_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent() -> None:
    """Runs in the child before exec: whatever ends this program ends the emulator too."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Emulator:
    """A running emulator. `input` and `output` are the file descriptors of its serial line."""

    def __init__(self, argv: list[str], directory: Path, serial: "socket.socket | None"):
        """`serial` is a listening socket that the emulator connects to; None: the serial line is its stdio."""
        self.messages = directory / "emulator.log"
        with open(self.messages, "wb") as messages:
            self.process = subprocess.Popen(
                argv,
                cwd=directory,
                stdin=subprocess.DEVNULL if serial else subprocess.PIPE,
                stdout=messages if serial else subprocess.PIPE,
                stderr=messages,
                preexec_fn=die_with_parent,
            )
        self.connection: "socket.socket | None" = None
        self.input = self.output = -1
        try:
            self._connect(serial)
        except BaseException:
            self.end()
            raise

    def _connect(self, serial: "socket.socket | None") -> None:
        if serial is None:
            assert self.process.stdin and self.process.stdout
            self.input, self.output = self.process.stdin.fileno(), self.process.stdout.fileno()
        else:
            self.connection = self._accept(serial)
            self.input = self.output = self.connection.fileno()
        os.set_blocking(self.input, False)
        os.set_blocking(self.output, False)

    def _accept(self, serial: socket.socket) -> socket.socket:
        serial.settimeout(0.2)
        deadline = time.monotonic() + CONNECT_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                return serial.accept()[0]
            except TimeoutError:
                continue
        raise EOFError("the emulator ended before its serial line was there")

    def read(self) -> "bytes | None":
        """What has arrived; None: nothing yet; b"": the line is closed."""
        try:
            data = os.read(self.output, 65536)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return b""
        if self.connection:
            # Bochs sends byte by byte, and what is not acknowledged when it ends may be lost: acknowledge at once.
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data

    def write(self, data: bytes) -> int:
        """Sends what the line takes now and returns how much that was."""
        try:
            return os.write(self.input, data)
        except BlockingIOError:
            return 0
        except (BrokenPipeError, ConnectionResetError):
            return len(data)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(TERMINATE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.connection):
            if stream:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass


STAMP = rb"\[ *[0-9]+\.[0-9]+\] "
_TAKEN = re.compile(STAMP + rb"caisson: ")
_END = re.compile(STAMP + rb"caisson: [0-9]+ guests? ended: ([0-9]+) by themselves, ([0-9]+) stopped")
_PANIC = re.compile(STAMP + rb"panic: ")
_BOOT_ERROR = re.compile(rb"caisson: (?!loading )")
# What the firmware says when it goes on after an application that returned, and when it has nothing left to start.
_RETURNED = re.compile(rb"BdsDxe: (failed to start|loading Boot)")
_NOTHING_LEFT = re.compile(rb"BdsDxe: No bootable|UEFI Interactive Shell|Shell> |Boot Manager Menu")
_ESCAPES = re.compile(rb"\x1b(\[[0-9;=?]*[A-Za-z]|[()][0-9A-B]|[=>78])")
_PARTIAL_ESCAPE = re.compile(rb"\x1b[\[()]?[0-9;=?]*\Z")


class LogWatch:
    """Reads the serial log as it comes and knows how the run ended."""

    def __init__(self) -> None:
        self.taken = False  # the hypervisor owns the machine
        self.reason = ""  # of `status`, in words
        self.status: "int | None" = None  # exit status, as soon as the log tells it
        self._boot_error = ""
        self._line = b""
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Takes what arrived and returns what is to be shown.

        The firmware clears the screen and moves the cursor: its escape sequences are left out, those of the
        guests pass.
        """
        if not self.taken:
            data = self._held + data
            partial = _PARTIAL_ESCAPE.search(data)
            cut = partial.start() if partial else len(data)
            data, self._held = data[:cut], data[cut:]
            data = _ESCAPES.sub(b"", data)
        self._line += data
        *lines, self._line = self._line.split(b"\n")
        for line in lines:
            self._read_line(line.rstrip(b"\r"))
        self._line = self._line[-LINE_MAX:]
        self._watch_firmware(self._line)
        return data

    def finish(self) -> None:
        """The line was closed; its last byte may have been lost with it."""
        self._read_line(self._line.rstrip(b"\r"))

    def _read_line(self, line: bytes) -> None:
        if not self.taken:
            if _TAKEN.match(line):
                self.taken, self.status = True, None
            elif _BOOT_ERROR.match(line):
                self._boot_error = line.decode(errors="replace")
            else:
                self._watch_firmware(line)
        elif _PANIC.match(line):
            self.status, self.reason = 3, "the hypervisor panicked"
        elif end := _END.match(line):
            stopped = int(end[2])
            self.status = 1 if stopped else 0
            self.reason = f"guests stopped for a fault: {stopped}" if stopped else "all guests ended by themselves"

    def _watch_firmware(self, line: bytes) -> None:
        if self.taken:
            return
        if _NOTHING_LEFT.search(line) or (self._boot_error and _RETURNED.search(line)):
            self.status = 3
            self.reason = self._boot_error or "the firmware found nothing to start"

    @property
    def clean_end(self) -> bool:
        return self.status in (0, 1)
