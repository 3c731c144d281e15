/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk without timing: a driver that makes a RAM disk of the disk image which the emulator has put into the machine's
 * memory; the firmware then boots from it. For runs in which each instruction counts (run-qemu.sh --ramdisk): an
 * emulator's disks answer in real time. It prints nothing but its own errors.
 */
#include <efi.h>

#include "lib/io.h"
#include "lib/util.h"

/* Where run-qemu.sh has it put: RAMDISK_AT in tools/rig_emulators.py. */
#if defined(__x86_64__)
#define DISK_AT UINT64_C(0x20000000)
#else
#define DISK_AT UINT64_C(0x60000000)
#endif

/* UEFI 2.10, 5.3.2: the header in sector 1 tells where its copy is, which is the disk's last sector. */
#define SECTOR        UINT64_C(512)
#define GPT_SIGNATURE UINT64_C(0x5452415020494645) /* "EFI PART" */
struct gpt_header {
	UINT64 signature;
	UINT32 revision, header_bytes, crc, reserved;
	UINT64 my_sector, other_sector;
};

/* UEFI 2.10, 13.17.1, and the GUID of a raw disk, 10.3.5.9. */
struct ram_disk_protocol {
	EFI_STATUS(EFIAPI *make)
	(UINT64 at, UINT64 bytes, EFI_GUID *type, EFI_DEVICE_PATH *parent, EFI_DEVICE_PATH **path);
	EFI_STATUS(EFIAPI *unmake)(EFI_DEVICE_PATH *path);
};
static EFI_GUID ram_disk_guid = {0xab38a0df, 0x6873, 0x44a9, {0x87, 0xe6, 0xd4, 0xeb, 0x56, 0x14, 0x84, 0x49}};
static EFI_GUID raw_disk_guid = {0x77ab535a, 0x45fc, 0x624b, {0x55, 0x60, 0xf7, 0xb2, 0x81, 0xd1, 0xf9, 0x6e}};

/* The 8254's data sheet: channel 0, low byte then high byte, mode 0, which ends when it has counted down once. */
#define PIT_CHANNEL0     0x40
#define PIT_COMMAND      0x43
#define PIT_COUNT_ONCE_0 0x30

/* Called by gnu-efi's crt0. */
EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system);

static EFI_STATUS fail(EFI_SYSTEM_TABLE *system, CHAR16 *what)
{
	system->ConOut->OutputString(system->ConOut, what);
	return EFI_ABORTED;
}

/*
 * The firmware's tick would go on, masked. When one of its timers is due in the few instructions between a VMRUN that
 * injects an interrupt and the next exit, QEMU 7.2 delivers that interrupt a second time, IF clear or not (its
 * helper_vmrun leaves exception_index behind), and a Linux guest that has not yet come to its SWAPGS crashes.
 */
static EFIAPI void stop_tick(EFI_EVENT event, void *context)
{
	(void)event;
	(void)context;
	port_write8(PIT_COMMAND, PIT_COUNT_ONCE_0);
	port_write8(PIT_CHANNEL0, 0);
	port_write8(PIT_CHANNEL0, 0);
}

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
	const struct gpt_header *header = (const struct gpt_header *)(DISK_AT + SECTOR);
	EFI_BOOT_SERVICES *boot_services = system->BootServices;
	EFI_PHYSICAL_ADDRESS at = DISK_AT;
	struct ram_disk_protocol *ram_disk;
	EFI_DEVICE_PATH *path;
	EFI_EVENT leaving;
	(void)self;
	if (header->signature != GPT_SIGNATURE) {
		return fail(system, L"tests/firmware/ramdisk: the emulator has put no disk here\r\n");
	}
	UINT64 bytes = (header->other_sector + 1) * SECTOR;
	if (EFI_ERROR(boot_services->AllocatePages(AllocateAddress, EfiBootServicesData, (bytes + 4095) / 4096, &at))) {
		return fail(system, L"tests/firmware/ramdisk: the firmware uses the disk's memory\r\n");
	}
	if (EFI_ERROR(boot_services->LocateProtocol(&ram_disk_guid, NULL, (void **)&ram_disk)) ||
	    EFI_ERROR(ram_disk->make(at, bytes, &raw_disk_guid, NULL, &path))) {
		return fail(system, L"tests/firmware/ramdisk: this firmware makes no RAM disks\r\n");
	}
	return boot_services->CreateEvent(EVT_SIGNAL_EXIT_BOOT_SERVICES, TPL_NOTIFY, stop_tick, NULL, &leaving);
}
