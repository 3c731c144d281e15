/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A firmware that no emulator offers: loads the hypervisor from its own volume, puts the machine into the state
 * that it is linked with (state.h), and starts what it loaded as firmware would. tests/rigs/test_firmware.py boots
 * it. It prints nothing but its own errors.
 */
#include <efi.h>

#include "lib/string.h"
#include "tests/firmware/state.h"

#define IMAGE_PATH L"\\EFI\\caisson\\caisson.efi"

/* The volume's device path, a node for the file, and the end. */
#define PATH_BYTES_MAX 512

/* A file's node, UEFI 2.10, 10.3.5.4, and the end of the path. */
struct file_node {
	EFI_DEVICE_PATH_PROTOCOL header;
	CHAR16 path[sizeof(IMAGE_PATH) / sizeof(CHAR16)];
	EFI_DEVICE_PATH_PROTOCOL end;
};

static EFI_SYSTEM_TABLE *system_table;

/* Called by gnu-efi's crt0. */
EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system);

static void print(const char *text)
{
	static CHAR16 character[2];
	for (; *text != '\0'; text++) {
		character[0] = (CHAR16)(unsigned char)*text;
		system_table->ConOut->OutputString(system_table->ConOut, character);
	}
}

static EFI_STATUS fail(const char *what, EFI_STATUS status)
{
	print("tests/firmware: ");
	print(what);
	print("\r\n");
	return status;
}

/* Bytes of the nodes before the end. */
static UINTN path_bytes(const EFI_DEVICE_PATH_PROTOCOL *path)
{
	const UINT8 *start = (const UINT8 *)path, *node = start;
	while (((const EFI_DEVICE_PATH_PROTOCOL *)node)->Type != END_DEVICE_PATH_TYPE) {
		const EFI_DEVICE_PATH_PROTOCOL *header = (const EFI_DEVICE_PATH_PROTOCOL *)node;
		node += header->Length[0] | header->Length[1] << 8;
	}
	return (UINTN)(node - start);
}

/* From the volume that this application came from. */
static EFI_STATUS load(EFI_HANDLE self, EFI_HANDLE *image)
{
	static EFI_GUID loaded_image_guid = EFI_LOADED_IMAGE_PROTOCOL_GUID;
	static EFI_GUID device_path_guid = EFI_DEVICE_PATH_PROTOCOL_GUID;
	static UINT8 full[PATH_BYTES_MAX] __attribute__((aligned(8)));
	const struct file_node file = {
		.header = {MEDIA_DEVICE_PATH, MEDIA_FILEPATH_DP, {sizeof(file) - sizeof(file.end), 0}},
		.path = IMAGE_PATH,
		.end = {END_DEVICE_PATH_TYPE, END_ENTIRE_DEVICE_PATH_SUBTYPE, {sizeof(file.end), 0}},
	};
	EFI_BOOT_SERVICES *boot_services = system_table->BootServices;
	EFI_LOADED_IMAGE *loaded;
	EFI_DEVICE_PATH_PROTOCOL *volume;
	EFI_STATUS status = boot_services->HandleProtocol(self, &loaded_image_guid, (void **)&loaded);
	if (!EFI_ERROR(status)) {
		status = boot_services->HandleProtocol(loaded->DeviceHandle, &device_path_guid, (void **)&volume);
	}
	if (EFI_ERROR(status)) {
		return status;
	}
	UINTN bytes = path_bytes(volume);
	if (bytes > sizeof(full) - sizeof(file)) {
		return EFI_BUFFER_TOO_SMALL;
	}
	memcpy(full, volume, bytes);
	memcpy(full + bytes, &file, sizeof(file));
	return boot_services->LoadImage(FALSE, self, (EFI_DEVICE_PATH_PROTOCOL *)full, NULL, 0, image);
}

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
	EFI_HANDLE image;
	system_table = system;
	EFI_STATUS status = load(self, &image);
	if (EFI_ERROR(status)) {
		return fail("the hypervisor cannot be loaded from this volume", status);
	}
	const char *why_not = state_enter();
	if (why_not) {
		return fail(why_not, EFI_UNSUPPORTED);
	}
	return system->BootServices->StartImage(image, NULL, NULL);
}
