# SPDX-License-Identifier: Apache-2.0
"""./run-qemu.sh itself: options, exit status, terminal, and what it leaves behind."""

import contextlib
import os
import re
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Iterator

from harness import BUILD, STAMP, TOP, Failure, Test, boot, equal, find, run, run_logged, vm

RUNNER = TOP / "run-qemu.sh"
OPTIONS = "rig volume conf cpus mem cpu log timeout icount gdb screen usb".split()


def help_names_every_option() -> None:
    status, output = run_logged([RUNNER, "--help"], timeout=20)
    equal("the exit status", status, 0)
    for option in OPTIONS:
        find(rf" +--{option} .*", output)
    for rig in ("vmx", "svm", "svm-bochs", "el2", "kvm", "kvm-nested"):
        find(rf"  {rig} +[A-Za-z].*", output)
    for status in (0, 1, 2, 3, 124):
        find(rf"  {status} +[a-z].*", output)


USAGE_ERRORS = [
    (["--rig", "moon"], "run-qemu.sh: argument --rig: invalid choice: 'moon'.*"),
    (["--colour"], "run-qemu.sh: unrecognized arguments: --colour.*"),
    (["--rig", "svm", "--conf", "/nowhere/x.conf"], "run-qemu.sh: --conf /nowhere/x.conf: no such file"),
    (["--rig", "svm", "--volume", "/nowhere"], "run-qemu.sh: --volume /nowhere: no such directory"),
    (["--rig", "svm", "--mem", "lots"], "run-qemu.sh: argument --mem: 'lots' is no size such as 512M or 2G.*"),
    (["--rig", "svm", "--cpus", "0"], "run-qemu.sh: argument --cpus: '0' is no positive number.*"),
    (["--rig", "vmx", "--gdb"], "run-qemu.sh: rig vmx has no --gdb"),
    (["--rig", "svm", "--gic", "2"], "run-qemu.sh: rig svm has no --gic"),
]


def usage_errors() -> None:
    for arguments, line in USAGE_ERRORS:
        status, output = run_logged([RUNNER, *arguments], timeout=20)
        equal(f"the exit status of {arguments}", status, 2)
        equal("lines of output", len(output.splitlines()), 1)
        find(line, output)


def missing_tool() -> None:
    """With a PATH where the emulator is not, the line to type is told."""
    with tempfile.TemporaryDirectory() as name:
        for tool in ("dirname", "readlink", "mcopy", "cp"):
            os.symlink(f"/usr/bin/{tool}", Path(name) / tool)
        status, output = run_logged(["/bin/sh", RUNNER, "--rig", "svm"], timeout=20, env={"PATH": name})
    equal("the exit status", status, 2)
    find("run-qemu.sh: rig svm needs what is not installed; as root: apt-get install qemu-system-x86", output)


def default_rig() -> None:
    """Without --rig the best one is taken, and it says which and why."""
    status, output = run_logged([RUNNER, "--timeout", "200"], timeout=230)
    equal("the exit status", status, 0)
    chosen = find(r"run-qemu.sh: rig (kvm|svm) \(.*\), (.*)", output)
    why = "nested KVM works on this machine" if chosen[1] == "kvm" else "no nested KVM: /dev/kvm .*"
    if not re.fullmatch(why, chosen[2]):
        raise Failure(f"it took {chosen[1]} because: {chosen[2]}")
    find(r"run-qemu.sh: in \S+: qemu-system-x86_64 .*-drive .*caisson-x86_64\.img.*", output)
    find("run-qemu.sh: all guests ended by themselves \\(exit status 0\\)", output)


def timeout() -> None:
    """An endless guest ends with status 124, and nothing stays behind."""
    before = set((BUILD / "run").iterdir()) if (BUILD / "run").exists() else set()
    start = time.monotonic()
    with boot("el2", conf=vm("one", "builtin:rogue", cmdline="spin"), timeout=8) as machine:
        directory = Path(machine.expect(r"^run-qemu.sh: in (\S+): qemu")[1])
        machine.expect("rogue: spins for ever")
        equal("the exit status", machine.end(), 124)
    if time.monotonic() - start > 20:
        raise Failure("it took longer than its timeout")
    find(r"run-qemu.sh: timeout after 8 seconds \(exit status 124\)", machine.log)
    if directory in before or directory.exists():
        raise Failure(f"{directory} was left behind")
    equal("emulators that use it", emulators_in(directory), [])


def emulators_in(directory: Path) -> list[str]:
    """Processes whose command line names the directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(directory).encode() in path.read_bytes():
                found.append(path.parent.name)
    return found


def killed() -> None:
    """Even where run-qemu.sh is killed outright, the emulator goes with it."""
    with boot("el2", conf=vm("one", "builtin:rogue", cmdline="spin"), timeout=60) as machine:
        directory = Path(machine.expect(r"^run-qemu.sh: in (\S+): qemu")[1])
        machine.expect("rogue: spins for ever")
        equal("emulators before", len(emulators_in(directory)), 1)
        machine.process.kill()
        machine.process.wait()
        for _ in range(50):
            if not emulators_in(directory):
                break
            time.sleep(0.1)
        equal("emulators after", emulators_in(directory), [])
    for left in directory.iterdir():
        left.unlink()
    directory.rmdir()


def emulator_dies() -> None:
    """The emulator ends before the guests do: status 3."""
    with boot("el2", conf=vm("one", "builtin:rogue", cmdline="spin"), timeout=60) as machine:
        directory = Path(machine.expect(r"^run-qemu.sh: in (\S+): qemu")[1])
        machine.expect("rogue: spins for ever")
        for process in emulators_in(directory):
            os.kill(int(process), 9)
        equal("the exit status", machine.end(), 3)
    find(r"run-qemu.sh: the emulator ended before the guests did \(exit status 3\)", machine.log)


def log_file() -> None:
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "serial.log"
        machine = run("el2", "--log", str(log))
        equal("the exit status", machine.status, 0)
        text = log.read_text().replace("\r", "")
    find(rf"{STAMP}caisson: 2 guests ended: 2 by themselves, 0 stopped", text)
    if text not in machine.log:
        raise Failure("the log file is not what was streamed")


def large_volume() -> None:
    """More than the image holds: it is made larger. The guest's kernel comes from there."""
    filler = os.urandom(1 << 20) * 100
    kernel = (BUILD / "aarch64/guests/hello.bin").read_bytes()
    machine = run("el2", conf=vm("one", r"\guests\hello.bin"), volume={"filler": filler, "guests/hello.bin": kernel})
    equal("the exit status", machine.status, 0)
    find(rf"{STAMP}vm one: ended: turned itself off; .*", machine.log)


def debugger_stub() -> None:
    """The machine waits, a debugger can ask for its registers, and lets it go."""
    with boot("el2", "--gdb", timeout=60) as machine:
        machine.expect(r"^run-qemu.sh: stopped before the first instruction\. .*target remote 127\.0\.0\.1:1234")
        machine.expect(r"^run-qemu.sh: in ")
        with connect(1234) as stub:
            stub.sendall(b"+$g#67")
            if not re.match(rb"\+\$[0-9a-fx]{100,}", receive(stub)):
                raise Failure("the stub gives no registers")
            if "UEFI firmware" in machine.log:
                raise Failure("the machine did not wait")
            stub.sendall(b"+$c#63")
            machine.expect("UEFI firmware")
            machine.expect(rf"{STAMP}caisson: version .*, image at 0x[0-9a-f]+")
            equal("the exit status", machine.end(), 0)


def connect(port: int) -> socket.socket:
    for _ in range(50):
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), timeout=10)
        time.sleep(0.1)
    raise Failure(f"nobody listens on port {port}")


def receive(stub: socket.socket) -> bytes:
    data = b""
    while not re.search(rb"#[0-9a-f]{2}", data):
        data += stub.recv(65536)
    return data


def terminal() -> None:
    """On a terminal single keys go to the guest, Ctrl-] ends the run, and the terminal is as it was before."""
    import pty
    import termios

    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    with tempfile.TemporaryDirectory() as name:
        conf = Path(name) / "spin.conf"
        conf.write_text(vm("one", "builtin:rogue", cmdline="spin"))
        command = ["setsid", "--ctty", "--wait", str(RUNNER), "--rig", "el2", "--timeout", "60", "--conf", str(conf)]
        with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave) as process:
            try:
                output = read_until(master, rb"rogue: spins for ever")
                raw = termios.tcgetattr(slave)
                os.write(master, b"\x03\x1d")  # Ctrl-C is the guest's, Ctrl-] is ours
                equal("the exit status", process.wait(20), 130)
            finally:
                process.kill()
    equal("the terminal's settings afterwards", termios.tcgetattr(slave), before)
    equal("canonical mode while it ran", raw[3] & (termios.ICANON | termios.ECHO | termios.ISIG), 0)
    find("run-qemu.sh: Ctrl-] ends the run; all other keys go to the guest's console", output)
    os.close(master)
    os.close(slave)


def read_until(descriptor: int, pattern: bytes) -> str:
    data, deadline = b"", time.monotonic() + 40
    os.set_blocking(descriptor, False)
    while not re.search(pattern, data):
        if time.monotonic() > deadline:
            raise Failure(f"no {pattern!r} on the terminal: {data[-300:]!r}")
        with contextlib.suppress(BlockingIOError):
            data += os.read(descriptor, 4096)
        time.sleep(0.02)
    return data.decode(errors="replace").replace("\r", "")


def tests() -> Iterator[Test]:
    yield Test("--help names every option, rig and exit status", help_names_every_option, 1)
    yield Test("wrong usage costs one line and status 2", usage_errors, 2)
    yield Test("a missing tool is named with its apt-get line, status 2", missing_tool, 1)
    yield Test("without --rig the best rig is taken, and it says why", default_rig, 6)
    yield Test("an endless guest ends at --timeout with status 124, nothing stays behind", timeout, 9)
    yield Test("the emulator ends with run-qemu.sh, even if that is killed", killed, 3)
    yield Test("an emulator that dies is status 3", emulator_dies, 3)
    yield Test("--log writes what is streamed", log_file, 2)
    yield Test("--volume may be larger than the image", large_volume, 4)
    yield Test("--gdb waits for a debugger", debugger_stub, 3)
    yield Test("on a terminal keys go to the guest, Ctrl-] ends it, settings come back", terminal, 3)
