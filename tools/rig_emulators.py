# SPDX-License-Identifier: Apache-2.0
"""The rigs: which emulator each one is, with which command line, and what must be installed for it.

Pure description, used by rig.py; starts nothing.
"""

import os
import shlex
import shutil
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import kvm_nested

OVMF_CODE = "/usr/share/OVMF/OVMF_CODE.fd"
OVMF_VARS = "/usr/share/OVMF/OVMF_VARS.fd"
OVMF_WHOLE = "/usr/share/ovmf/OVMF.fd"
AAVMF = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"
BOCHS_VGA_BIOS = "/usr/share/bochs/VGABIOS-lgpl-latest"
BOCHS_PLUGIN = "/usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_rfb_gui.so"

BUILD = Path(__file__).resolve().parent.parent / "build"

GDB_ADDRESS = "tcp:127.0.0.1:1234"

# Program or file -> Debian package.
PACKAGES = {
    "mcopy": "mtools",
    "mkfs.vfat": "dosfstools",
    "sfdisk": "fdisk",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-system-aarch64": "qemu-system-arm",
    "bochs": "bochs",
    OVMF_CODE: "ovmf",
    OVMF_VARS: "ovmf",
    OVMF_WHOLE: "ovmf",
    AAVMF: "qemu-efi-aarch64",
    BOCHS_VGA_BIOS: "vgabios",
    BOCHS_PLUGIN: "bochs",
}


class UsageError(Exception):
    """What was asked for cannot be had; the message says why and what to do."""


@dataclass
class Options:
    rig: str = "svm"
    image: "Path | None" = None
    volume: "Path | None" = None
    conf: "Path | None" = None
    cpus: int = 1
    memory: int = 1024  # MiB
    cpu: "str | None" = None
    log: "Path | None" = None
    timeout: "float | None" = None
    icount: bool = False
    plugin: "str | None" = None
    gdb: bool = False
    screen: bool = False
    usb: bool = False
    ramdisk: bool = False
    direct: bool = False
    gic: int = 3
    acpi: bool = True
    el2: bool = True


@dataclass
class Launch:
    """One emulator about to start."""

    argv: list[str]
    serial: "socket.socket | None" = None  # the emulator connects its serial port here; None: its stdio
    notes: list[str] = field(default_factory=list)  # what the user is told beside the command line

    def command_line(self) -> str:
        return shlex.join(self.argv)


@dataclass(frozen=True)
class Rig:
    isa: str
    what: str  # what is emulated, in words
    needs: tuple[str, ...]  # keys of PACKAGES
    launch: Callable[[Options, Path, Path], Launch]  # options, image, working directory
    refuses: tuple[str, ...] = ()  # options that make no sense here


def missing_packages(needs: tuple[str, ...]) -> list[str]:
    found = {PACKAGES[need] for need in needs if not (os.path.exists(need) or _program(need))}
    return sorted(found)


def _program(name: str) -> bool:
    return "/" not in name and shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is not None


def kvm_unavailable() -> str:
    """Why nested KVM does not work on this machine; empty: it does."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError as error:
        return f"/dev/kvm does not open ({error.strerror})"
    flags = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    module = next((m for flag, m in (("svm", "kvm_amd"), ("vmx", "kvm_intel")) if flag in flags.split()), None)
    if module is None:
        return "/dev/kvm opens, but the CPU shows neither vmx nor svm"
    parameter = Path(f"/sys/module/{module}/parameters/nested")
    if not parameter.exists() or parameter.read_text().strip() not in ("1", "Y"):
        return f"/dev/kvm opens, but {parameter} is not on"
    return ""


def choose_rig() -> tuple[str, str]:
    """The best rig that this machine offers, and why."""
    why_not = kvm_unavailable()
    if not why_not:
        return "kvm", "nested KVM works on this machine"
    return "svm", f"no nested KVM: {why_not}"


# ---- QEMU ----

_SAME_EVERY_TIME = ("-rtc", "base=2024-01-01,clock=vm", "-seed", "1")

RAMDISK_AT = {"x86_64": 0x20000000, "aarch64": 0x60000000}  # DISK_AT in tests/firmware/ramdisk.c


def _disk(options: Options, image: Path, device: str) -> list[str]:
    if options.direct:
        return ["-kernel", str(image)]
    if options.ramdisk:
        isa = RIGS[options.rig].isa
        where = f"loader,file={image},addr={RAMDISK_AT[isa]:#x},force-raw=on"
        return ["-kernel", str(BUILD / isa / "firmware/ramdisk.efi"), "-device", where]
    drive = ["-drive", f"format=raw,file={image},if=none,id=disk"]
    if options.usb:
        return [*drive, "-device", "qemu-xhci", "-device", "usb-storage,drive=disk"]
    return [*drive, "-device", f"{device},drive=disk"]


def _display(options: Options, notes: list[str]) -> list[str]:
    if not options.screen:
        return ["-display", "none"]
    window = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if window and list(Path("/usr/lib").glob("*/qemu/ui-gtk.so")):
        return ["-display", "gtk"]
    notes.append("no DISPLAY here, or no package qemu-system-gui: the screen is on VNC, from 127.0.0.1:5900 upwards")
    return ["-display", "vnc=127.0.0.1:0,to=99"]


def _debugger(options: Options, notes: list[str], isa: str) -> list[str]:
    if not options.gdb:
        return []
    notes.append(
        "stopped before the first instruction. In another terminal: gdb-multiarch "
        "-ex 'target remote 127.0.0.1:1234'; then 'continue', and once the log has told \"image at BASE\", "
        f"'add-symbol-file build/{isa}/caisson.elf -o BASE'"
    )
    return ["-gdb", GDB_ADDRESS, "-S"]


def _x86_machine(options: Options, kvm: bool = False) -> list[str]:
    argv = ["qemu-system-x86_64", "-M", "pc" if options.icount else "q35"]
    argv += ["-accel", "kvm" if kvm else "tcg"]
    # Before QEMU 8.0 TCG's CMPXCHG16B leaves rubbish in EFLAGS, and an interrupt at the branch after it, as in the
    # allocator of Linux 6.12, keeps it there: such a kernel dies now and then, with a hypervisor below it or without.
    argv += ["-cpu", (options.cpu or "host") if kvm else f"{options.cpu or 'max'},-cx16"]
    if options.icount:
        argv += ["-icount", "shift=6,sleep=off", *_SAME_EVERY_TIME]
    return [*argv, *_common(options)]


def _arm_machine(options: Options) -> list[str]:
    machine = f"virt,virtualization={'on' if options.el2 else 'off'},gic-version={options.gic}"
    machine += "" if options.acpi else ",acpi=off"
    cpu = options.cpu or "max"
    cpu += ",cntfrq=1000000000" if options.icount else ""
    # QARMA5 in software is two thirds of the time of a kernel that signs its return addresses.
    cpu += ",pauth-impdef=on" if cpu.partition(",")[0] == "max" else ""
    argv = ["qemu-system-aarch64", "-M", machine, "-accel", "tcg", "-cpu", cpu]
    if options.icount:
        argv += ["-icount", "shift=0,sleep=off", *_SAME_EVERY_TIME]
    return [*argv, *_common(options)]


def _common(options: Options) -> list[str]:
    argv = ["-smp", str(options.cpus), "-m", f"{options.memory}M", "-nodefaults", "-no-reboot", "-net", "none"]
    return argv + (["-plugin", options.plugin] if options.plugin else [])


def bare_linux(options: Options, kernel: Path, initrd: Path, cmdline: str, serial: Path) -> list[str]:
    """A kernel without us, on the machine that the rig is, its console in a file. For comparison."""
    machine = _x86_machine(options) if options.rig == "svm" else _arm_machine(options)
    loaded = ["-kernel", str(kernel), "-initrd", str(initrd), "-append", cmdline]
    return [*machine, "-display", "none", "-serial", f"file:{serial}", *loaded]


def _qemu_x86(options: Options, image: Path, directory: Path, kvm: bool) -> Launch:
    notes: list[str] = []
    variables = directory / "OVMF_VARS.fd"
    shutil.copyfile(OVMF_VARS, variables)
    argv = _x86_machine(options, kvm)
    argv += _display(options, notes) + (["-vga", "std"] if options.screen else [])
    argv += ["-serial", "stdio"]
    argv += ["-drive", f"if=pflash,format=raw,readonly=on,file={OVMF_CODE}"]
    argv += ["-drive", f"if=pflash,format=raw,file={variables}"]
    argv += _disk(options, image, "virtio-blk-pci") + _debugger(options, notes, "x86_64")
    return Launch(argv, notes=notes)


def _svm(options: Options, image: Path, directory: Path) -> Launch:
    return _qemu_x86(options, image, directory, kvm=False)


def _kvm(options: Options, image: Path, directory: Path) -> Launch:
    if why_not := kvm_unavailable():
        raise UsageError(f"rig kvm: {why_not}")
    return _qemu_x86(options, image, directory, kvm=True)


def _el2(options: Options, image: Path, directory: Path) -> Launch:
    del directory
    notes: list[str] = []
    argv = _arm_machine(options)
    argv += _display(options, notes)
    if options.screen:
        argv += ["-device", "ramfb"]
    argv += ["-serial", "stdio", "-bios", AAVMF, "-boot", "menu=on,splash-time=0"]
    argv += _disk(options, image, "virtio-blk-device") + _debugger(options, notes, "aarch64")
    return Launch(argv, notes=notes)


# ---- Bochs ----

# MiB: Bochs takes no more, but its guest may have more as long as it does not use it: swapping loses data.
BOCHS_HOST_MEMORY = 2048
_COUNTED_ANYWAY = "this rig counts instructions in any case: every run is the same"

BOCHSRC = """\
plugin_ctrl: biosdev=true, busmouse=false, e1000=false, es1370=false, extfpuirq=true, parallel=true, sb16=false, \
serial=true, speaker=false, unmapped=true
config_interface: textconfig
display_library: rfb, options="timeout=0"
cpu: model={model}, count={cpus}, ips=50000000, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest={memory}, host={host}
romimage: file={rom}, address=0xffe00000, options=none
vgaromimage: file={vga}
pci: enabled=1, chipset=i440fx
com1: enabled=1, mode=socket-client, dev=127.0.0.1:{port}
log: bochs.log
clock: sync=none, time0=1700000000
boot: disk
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, path={image}, mode=volatile
panic: action=report{panic}
error: action=report
info: action=report
debug: action=ignore
"""


def _bochs(options: Options, image: Path, directory: Path, model: str, outlive: int = 0) -> Launch:
    """`outlive`: how many triple faults of guests, which Bochs may take for the machine's own, are not the end."""
    # Bochs connects to us and not the other way round: the port is then taken already and several can run at once.
    serial = socket.create_server(("127.0.0.1", 0))
    text = BOCHSRC.format(
        model=options.cpu or model,
        cpus=options.cpus,
        memory=options.memory,
        host=min(options.memory, BOCHS_HOST_MEMORY),
        rom=OVMF_WHOLE,
        vga=BOCHS_VGA_BIOS,
        port=serial.getsockname()[1],
        image=image,
        panic="".join(f", cpu{i}=report" for i in range(options.cpus)) if outlive else "",
    )
    (directory / "bochsrc").write_text(text)
    (directory / "debugger.rc").write_text("continue\n" * (1 + outlive))
    notes = [_COUNTED_ANYWAY] if options.icount else []
    if options.memory > BOCHS_HOST_MEMORY:
        notes.append(
            f"Bochs keeps {BOCHS_HOST_MEMORY} MiB of the machine's memory at hand and swaps what a run uses beyond "
            "that, which it does not do right: it has lost writes to the stack"
        )
    if options.screen:
        notes.append("the screen is on VNC, from port 5900 upwards: which one is told in emulator.log")
    return Launch(["bochs", "-q", "-f", "bochsrc", "-rc", "debugger.rc"], serial, notes)


def _vmx(options: Options, image: Path, directory: Path) -> Launch:
    return _bochs(options, image, directory, "corei7_skylake_x")


def _svm_bochs(options: Options, image: Path, directory: Path) -> Launch:
    # A guest's triple fault is a panic to Bochs, and stops in its debugger, before it becomes VMEXIT_SHUTDOWN.
    return _bochs(options, image, directory, "ryzen", outlive=100)


# ---- KVM with nesting inside QEMU TCG ----


def _kvm_nested(options: Options, image: Path, directory: Path) -> Launch:
    try:
        argv = kvm_nested.command(image, directory, options.cpus, options.memory)
    except kvm_nested.RigError as error:
        raise UsageError(f"rig kvm-nested: {error}") from error
    inside = kvm_nested.inner_command(options.cpus, options.memory)
    notes = [_COUNTED_ANYWAY] if options.icount else []
    return Launch(argv, notes=[*notes, f"inside, on the KVM that this boots: {inside}"])


_QEMU_X86 = ("mcopy", "qemu-system-x86_64", OVMF_CODE, OVMF_VARS)
_BOCHS = ("mcopy", "bochs", BOCHS_PLUGIN, OVMF_WHOLE, BOCHS_VGA_BIOS)
_X86_REFUSES = ("gic", "acpi_off", "no_el2")
_BOCHS_REFUSES = (*_X86_REFUSES, "gdb", "plugin", "usb", "ramdisk", "direct")

RIGS = {
    "vmx": Rig("x86_64", "Intel VMX and EPT, emulated by Bochs", _BOCHS, _vmx, _BOCHS_REFUSES),
    "svm": Rig("x86_64", "AMD SVM and NPT, emulated by QEMU TCG", _QEMU_X86, _svm, _X86_REFUSES),
    "svm-bochs": Rig("x86_64", "AMD SVM and NPT, emulated by Bochs", _BOCHS, _svm_bochs, _BOCHS_REFUSES),
    "el2": Rig("aarch64", "Arm EL2, emulated by QEMU TCG", ("mcopy", "qemu-system-aarch64", AAVMF), _el2),
    "kvm": Rig("x86_64", "this machine's own, nested in KVM", _QEMU_X86, _kvm, (*_X86_REFUSES, "icount", "plugin")),
    "kvm-nested": Rig(
        "x86_64",
        "AMD SVM as a real KVM nests it, inside QEMU TCG",
        _QEMU_X86,
        _kvm_nested,
        (*_X86_REFUSES, "usb", "ramdisk", "direct", "screen", "gdb", "plugin", "cpu"),
    ),
}
