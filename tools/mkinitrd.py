#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes an initial RAM disk of busybox, kernel modules and an init script, for Linux guests.

    tools/mkinitrd.py --busybox DIR --kernel DIR --output FILE [--module NAME]... [--script FILE] [--file FROM:TO]...

--busybox and --kernel are unpacked packages as tools/fetch.sh leaves them. The modules, with what they depend on before
them, are loaded at the start, in order; then the script runs, if there is one; then busybox's init keeps a shell on the
console. Needs no root. The same input gives the same bytes.
"""

import argparse
import lzma
import sys
from pathlib import Path

MODULES = ("virtio_mmio", "virtio_blk", "virtio_net", "virtio_console", "virtio-rng")

INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ PS1='guest# '
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in {modules}; do
	insmod /lib/$module.ko || echo "initrd: $module cannot be loaded"
done
echo "initrd: up after $(cut -d ' ' -f 1 /proc/uptime) s"
[ -e /script ] && . /script
# The console that the kernel chose last: /dev/console may have been opened before its driver was there. By its name
# init opens it anew; its own one does not block, and what a program writes faster than the line sends would be lost.
console=$(tail -n 1 /sys/class/tty/console/active | sed 's/.* //')
echo "$console::respawn:-/bin/sh" >/etc/inittab
export CONSOLE=/dev/$console
exec init <$CONSOLE >$CONSOLE 2>&1
"""

DIRECTORY, FILE, CHARACTER = 0o040755, 0o100755, 0o020600
FOLDERS = ("bin", "dev", "etc", "lib", "proc", "sys", "tmp", "mnt")


class Archive:
    """A cpio archive in the "new ASCII" format (Linux Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.entries = 0

    def add(self, path: str, mode: int, contents: bytes = b"", device: "tuple[int, int]" = (0, 0)) -> None:
        name = path.encode() + b"\0"
        self.entries += 1
        fields = (self.entries, mode, 0, 0, 1, 0, len(contents), 0, 0, *device, len(name), 0)
        self.data += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        self.pad()
        self.data += contents
        self.pad()

    def pad(self) -> None:
        self.data += bytes(-len(self.data) % 4)

    def close(self) -> bytes:
        self.add("TRAILER!!!", 0)
        return bytes(self.data)


def contents(module: Path) -> bytes:
    """Packed ones are unpacked here, for not every kernel and busybox can."""
    data = module.read_bytes()
    return lzma.decompress(data) if module.suffix == ".xz" else data


def information(module: Path, key: str) -> str:
    """What the module's .modinfo section says: strings `key=value`."""
    start = b"\0" + key.encode() + b"="
    _, found, rest = contents(module).partition(start)
    return rest.partition(b"\0")[0].decode() if found else ""


def load_order(kernel: Path, names: list[str]) -> dict[str, Path]:
    """The modules and what they depend on, each before what needs it. What is compiled in is left out."""
    files = {path.name.partition(".")[0].replace("-", "_"): path for path in kernel.glob("**/lib/modules/**/*.ko*")}
    builtin = "".join(path.read_text() for path in kernel.glob("**/modules.builtin")).replace("-", "_")
    order: dict[str, Path] = {}

    def visit(name: str) -> None:
        name = name.replace("-", "_")
        if name in order or f"/{name}.ko" in builtin:
            return
        if name not in files:
            sys.exit(f"mkinitrd.py: {kernel} has no module {name}")
        for needed in filter(None, information(files[name], "depends").split(",")):
            visit(needed)
        order[name] = files[name]

    for name in names:
        visit(name)
    return order


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--busybox", type=Path, required=True, metavar="DIR", help="the package busybox-static, unpacked")
    add("--kernel", type=Path, required=True, metavar="DIR", help="the kernel's package, unpacked")
    add("--output", type=Path, required=True, metavar="FILE")
    add("--module", action="append", metavar="NAME", help=f"a module to load ({' '.join(MODULES)})")
    add("--script", type=Path, metavar="FILE", help="a script for busybox's sh, run before the shell")
    add("--file", action="append", default=[], metavar="FROM:TO", help="a file to take along")
    options = parser.parse_args()

    modules = load_order(options.kernel, options.module or list(MODULES))
    archive = Archive()
    for folder in FOLDERS:
        archive.add(folder, DIRECTORY)
    archive.add("dev/console", CHARACTER, device=(5, 1))
    archive.add("bin/busybox", FILE, (options.busybox / "bin/busybox").read_bytes())
    for name, path in modules.items():
        archive.add(f"lib/{name}.ko", FILE, contents(path))
    if options.script:
        archive.add("script", FILE, options.script.read_bytes())
    for pair in options.file:
        source, _, to = pair.partition(":")
        archive.add(to.lstrip("/"), FILE, Path(source).read_bytes())
    archive.add("init", FILE, INIT.format(modules=" ".join(modules)).encode())
    options.output.write_bytes(archive.close())
    return 0


if __name__ == "__main__":
    sys.exit(main())
