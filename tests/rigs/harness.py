# SPDX-License-Identifier: Apache-2.0
"""What rig tests are written with: Test, boot(), and checks that say what was missing.

A file test_NAME.py has a function tests() that yields its Tests; tests/run.py finds and runs them. A test goes
through ./run-qemu.sh as anyone would, and raises Failure or Skip.
"""

import contextlib
import fcntl
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

TOP = Path(__file__).resolve().parents[2]
BUILD = TOP / "build"
STAMP = r"\[ *[0-9]+\.[0-9]{6}\] "
TOGETHER = "[caisson]\nrun = together\n"  # for the head of a configuration
KILL_SECONDS = 15  # that run-qemu.sh has for ending after its timeout
GDB_SECONDS = 60

sys.path.append(str(TOP / "tools"))

from rig_emulators import kvm_unavailable  # noqa: E402  # pylint: disable=wrong-import-position


class Failure(Exception):
    """The test proved its sentence wrong; the message says how."""


class Skip(Exception):
    """This machine cannot show it; the message says why."""


@dataclass(frozen=True)
class Test:
    name: str  # the sentence that it proves
    run: Callable[[], None]
    seconds: float  # that it takes about, so that the longest start first


_here = threading.local()  # .log: the open log of the test that this thread runs


@contextlib.contextmanager
def logging_to(path: Path) -> Iterator[None]:
    with open(path, "wb") as log:
        _here.log = log
        yield
        _here.log = None


def log_bytes(data: bytes) -> None:
    _here.log.write(data)
    _here.log.flush()


def run_logged(command: "list[str | Path]", timeout: float, **options: object) -> tuple[int, str]:
    """Runs a program to its end; its output goes to the log too. Answers its exit status and output."""
    log_bytes(f"$ {' '.join(map(str, command))}\n".encode())
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=TOP,
        start_new_session=True, **options,  # type: ignore[call-overload]
    ) as process:  # fmt: skip
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            log_bytes(output)
            raise Failure(f"{command[0]} took longer than {timeout:g} seconds") from None
    log_bytes(output)
    return process.returncode, output.decode(errors="replace")


# ---- a run of the image ----


class Boot:
    """The image running on a rig. `log` is what came so far, `status` the exit status once it is known."""

    def __init__(self, command: list[str], timeout: float):
        self.log = ""
        self.status: "int | None" = None
        self.position = 0  # expect goes on from here
        self.deadline = time.monotonic() + timeout + KILL_SECONDS
        log_bytes(f"$ {' '.join(command)}\n".encode())
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=TOP
        )

    def _read(self) -> bool:
        """Waits for more of the log; False: it has ended."""
        assert self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], 1)
        if ready:
            data = os.read(self.process.stdout.fileno(), 65536)
            log_bytes(data)
            self.log += data.decode(errors="replace").replace("\r", "")
            if not data:
                self.status = self.process.wait()
                return False
        if time.monotonic() > self.deadline:
            self.stop()
            raise Failure("run-qemu.sh did not end at its timeout")
        return True

    def expect(self, pattern: str) -> re.Match[str]:
        """Waits until the log has `pattern` after what was expected before."""
        expression = re.compile(pattern, re.MULTILINE)
        while not (match := expression.search(self.log, self.position)):
            if not self._read() and not expression.search(self.log, self.position):
                raise Failure(f"the run ended (status {self.status}) without: {pattern}")
        self.position = match.end()
        return match

    def send(self, text: str) -> None:
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(text.encode())
            self.process.stdin.flush()

    def end(self) -> int:
        """Waits for the run's end and answers its exit status."""
        while self.status is None:
            self._read()
        return self.status

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(KILL_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if stream:
                    stream.close()


Files = dict[str, "bytes | Path"]  # path on the volume -> contents, or the file to copy


@contextlib.contextmanager
def debugger_port() -> Iterator[None]:
    """--gdb has one port only: one test at a time."""
    with open(BUILD / "tests/debugger.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def boot(
    rig: str, *options: str, conf: "str | None" = None, volume: "Files | None" = None, timeout: float = 120
) -> Iterator[Boot]:
    """Starts the image; `conf` is the text of its configuration (None: the built-in demo)."""
    with contextlib.ExitStack() as stack:
        if "--gdb" in options:
            stack.enter_context(debugger_port())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="caisson-test.")))
        command = [str(TOP / "run-qemu.sh"), "--rig", rig, "--timeout", str(timeout), *options]
        if conf is not None:
            (directory / "caisson.conf").write_text(conf)
            command += ["--conf", str(directory / "caisson.conf")]
        if volume:
            for path, contents in volume.items():
                target = directory / "volume" / path
                target.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(contents, bytes):
                    target.write_bytes(contents)
                else:
                    shutil.copyfile(contents, target)
            command += ["--volume", str(directory / "volume")]
        machine = Boot(command, timeout)
        try:
            yield machine
        finally:
            machine.stop()


def run(
    rig: str, *options: str, conf: "str | None" = None, volume: "Files | None" = None, timeout: float = 120
) -> Boot:
    """Starts the image and waits for the end."""
    with boot(rig, *options, conf=conf, volume=volume, timeout=timeout) as machine:
        machine.end()
        return machine


def debug(isa: str, *commands: str) -> str:
    """A debugger session with the machine, which goes on when it is over. Answers what the debugger said."""
    script = ["set pagination off", "set confirm off", "set tcp connect-timeout 30", *commands]
    arguments = [item for command in script for item in ("-ex", command)]
    elf = str(BUILD / isa / "caisson.elf")
    status, output = run_logged(["gdb-multiarch", "-nx", "-batch", *arguments, elf], timeout=GDB_SECONDS)
    equal("the debugger's exit status", status, 0)
    return output


def vm(name: str, kernel: str, **keys: "str | int") -> str:
    """A section of a configuration. Keys are written with _ for -."""
    lines = [f"{key.replace('_', '-')} = {value}" for key, value in keys.items()]
    return "\n".join([f"[vm {name}]", f"kernel = {kernel}", *lines, "", ""])


def need(rig: str) -> None:
    """Skips the test where this machine cannot offer the rig."""
    why_not = kvm_unavailable() if rig == "kvm" else ""
    if why_not:
        raise Skip(f"no nested KVM: {why_not}")


def isa_of(rig: str) -> str:
    return "aarch64" if rig == "el2" else "x86_64"


# ---- checks ----


def equal(what: str, is_: object, should: object) -> None:
    if is_ != should:
        raise Failure(f"{what} is {is_!r} and not {should!r}")


def find(pattern: str, text: str) -> re.Match[str]:
    """The text has a line that is `pattern` as a whole."""
    match = re.search(f"^{pattern}$", text, re.MULTILINE)
    if not match:
        raise Failure(f"no line: {pattern}")
    return match


def came_back(name: str, log: str) -> int:
    """The VM gave every frame back, which the hypervisor itself counts; answers how many were free then."""
    return int(find(rf"{STAMP}vm {name}: every frame came back: ([0-9]+) free, as before", log)[1])


def absent(pattern: str, text: str) -> None:
    if match := re.search(pattern, text, re.MULTILINE):
        raise Failure(f"there must be no {pattern!r}: {match[0]}")


def one_line(log: str, line: str) -> None:
    """It is all that the image said, and the firmware went on."""
    equal("our lines", re.findall("^caisson: .*", log, re.MULTILINE), [line])
    find("BdsDxe: failed to start Boot.*", log)
    absent(rf"^{STAMP}", log)


def fetched(package: str, path: str, architecture: str = "amd64") -> Path:
    """A file of a Debian package, which is fetched when it is not there yet."""
    status, output = run_logged([TOP / "tools/fetch.sh", architecture, package], timeout=600)
    if status != 0:
        raise Failure(f"{package} cannot be fetched: {output.strip()}")
    return BUILD / "deps" / architecture / package / path
