# SPDX-License-Identifier: Apache-2.0
"""Rig kvm-nested: a real KVM with nesting, on a machine that has none.

QEMU TCG emulates an AMD CPU with SVM, Debian's kernel runs on it with kvm_amd, and Debian's QEMU in an initramfs
boots the disk image with -accel kvm. Used by rig_emulators.py. The initramfs is built once and kept under
build/kvm-nested; only the disk image is appended for each run.
"""

import fcntl
import hashlib
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import BinaryIO, Iterator

TOP = Path(__file__).resolve().parent.parent
CACHE = TOP / "build/kvm-nested"
KERNEL_PACKAGE = "linux-image-cloud-amd64"
MODULES = ("irqbypass", "kvm", "kvm-amd")
QEMU = Path("/usr/bin/qemu-system-x86_64")
OVMF_CODE = Path("/usr/share/OVMF/OVMF_CODE.fd")
OVMF_VARS = Path("/usr/share/OVMF/OVMF_VARS.fd")
KVMVAPIC = Path("/usr/share/qemu/kvmvapic.bin")
KERNEL_MEMORY = 1536  # MiB that the kernel, its initramfs and QEMU take beside the machine inside

# Time follows the instructions, at 1 ns each, and every run is the same. In real time the emulated CPU is so slow
# that a timer tick is often pending when OVMF's interrupt handler ends with its write to CR8; KVM then asks for an
# interrupt window, and QEMU 7.2 fails on that write (cpu_interrupt without the lock: an assertion that ends it).
COUNTED = ("-icount", "shift=0,sleep=off", "-rtc", "base=2024-01-01,clock=vm", "-seed", "1")

INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
for module in {modules}; do
	parameters=
	[ $module = kvm-amd ] && parameters=nested=1
	insmod /modules/$module.ko $parameters || echo "rig kvm-nested: $module does not load"
done
stty raw -echo </dev/console
. /command
poweroff -f
"""


class RigError(Exception):
    """The rig cannot be built; the message says why."""


# ---- cpio, format "newc" (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst) ----


class Cpio:
    def __init__(self, output: BinaryIO):
        self.output = output
        self.inode = 0
        self.directories: set[str] = set()

    def _entry(self, name: str, mode: int, data: bytes) -> None:
        self.inode += 1
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        self.output.write(header + bytes(-len(header) % 4) + data + bytes(-len(data) % 4))

    def directory(self, name: str) -> None:
        if name in self.directories or name in ("", "."):
            return
        self.directory(os.path.dirname(name))
        self.directories.add(name)
        self._entry(name, stat.S_IFDIR | 0o755, b"")

    def file(self, name: str, data: bytes, executable: bool = False) -> None:
        self.directory(os.path.dirname(name))
        self._entry(name, stat.S_IFREG | (0o755 if executable else 0o644), data)

    def end(self) -> None:
        self.inode = -1
        self._entry("TRAILER!!!", 0, b"")
        self.output.write(bytes(-self.output.tell() % 512))


# ---- what goes in ----


def fetched(package: str) -> Path:
    """Debian's package, unpacked under build/deps."""
    done = subprocess.run([TOP / "tools/fetch.sh", "amd64", package], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RigError(done.stderr.strip())
    return Path(done.stdout.strip())


def libraries(program: Path) -> Iterator[Path]:
    listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for line in listing.splitlines():
        if match := re.search(r"(/\S+) \(0x", line):
            yield Path(match[1])


def contents() -> tuple[Path, dict[str, Path]]:
    """The kernel, and the files of the initramfs by their name in it."""
    kernel_package = fetched(KERNEL_PACKAGE)
    kernel = next(kernel_package.glob("boot/vmlinuz-*"))
    files = {"bin/busybox": fetched("busybox-static") / "bin/busybox"}
    for module in MODULES:
        files[f"modules/{module}.ko"] = next(kernel_package.glob(f"lib/modules/**/{module}.ko"))
    for path in (QEMU, OVMF_CODE, OVMF_VARS, *libraries(QEMU)):
        files[str(path)[1:]] = path
    files["usr/share/qemu/kvmvapic.bin"] = KVMVAPIC
    return kernel, files


def initramfs(files: dict[str, Path]) -> Path:
    """The cached initramfs of these files, written where there is none."""
    init = INIT.format(modules=" ".join(MODULES))
    key = hashlib.sha256(init.encode())
    for name, path in sorted(files.items()):
        status = path.stat()
        key.update(f"{name} {path} {status.st_size} {status.st_mtime_ns}\n".encode())
    cached = CACHE / f"{key.hexdigest()[:16]}.cpio"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not cached.exists():
            for old in CACHE.glob("*.cpio"):
                old.unlink()
            unfinished = cached.with_suffix(".new")
            with open(unfinished, "wb") as output:
                archive = Cpio(output)
                for directory in ("dev", "proc", "sys", "tmp", "var/tmp"):
                    archive.directory(directory)
                archive.file("init", init.encode(), executable=True)
                for name, path in files.items():
                    archive.file(name, path.read_bytes(), executable=os.access(path, os.X_OK))
                archive.end()
            unfinished.rename(cached)
    return cached


def inner_command(cpus: int, memory: int) -> str:
    """The emulator that boots the image, with the outer console as its serial line."""
    return (
        f"qemu-system-x86_64 -accel kvm -M pc -cpu host -smp {cpus} -m {memory}M -nodefaults -no-reboot -display none"
        f" -serial stdio -net none -global kvm-pit.lost_tick_policy=discard"
        f" -drive if=pflash,format=raw,readonly=on,file={OVMF_CODE}"
        f" -drive if=pflash,format=raw,file={OVMF_VARS} -drive format=raw,file=/disk.img,if=ide"
    )


def command(image: Path, directory: Path, cpus: int, memory: int) -> list[str]:
    """The outer emulator's command line; its files are in `directory`."""
    kernel, files = contents()
    initrd = directory / "initrd"
    with open(initrd, "wb") as output:
        output.write(initramfs(files).read_bytes())
        archive = Cpio(output)
        archive.file("command", inner_command(cpus, memory).encode())
        archive.file("disk.img", image.read_bytes())
        archive.end()
    argv = ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "max,+svm", *COUNTED]
    argv += ["-m", f"{memory + KERNEL_MEMORY}M", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"]
    argv += ["-net", "none", "-kernel", str(kernel), "-initrd", str(initrd)]
    argv += ["-append", "console=ttyS0 quiet loglevel=1 mitigations=off nokaslr panic=-1"]
    return argv
