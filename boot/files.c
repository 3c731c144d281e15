/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files on the volume that the image came from, read through the firmware's file system. main.c calls it for the
 * configuration and for what that names. It leaves telling the user to its caller, but for the progress lines.
 */
#include "boot/boot.h"

#include "lib/printf.h"
#include "lib/string.h"
#include "lib/util.h"

/* Large enough for the calls not to matter, small enough for a progress line each second on a slow stick. */
#define CHUNK_BYTES MIB(1)

/* In units of 100 ns, as SetTimer wants them. */
#define ONE_SECOND 10000000

/* EFI_FILE_INFO ends in the file's name: FAT allows 255 characters. */
union file_info {
	EFI_FILE_INFO info;
	char bytes[sizeof(EFI_FILE_INFO) + 256 * sizeof(CHAR16)];
};

static EFI_FILE_HANDLE volume;

EFI_STATUS files_open_volume(void)
{
	static EFI_GUID loaded_image_guid = EFI_LOADED_IMAGE_PROTOCOL_GUID;
	static EFI_GUID file_system_guid = EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID;
	EFI_LOADED_IMAGE *image;
	EFI_FILE_IO_INTERFACE *file_system;

	EFI_STATUS status = boot_services->HandleProtocol(boot_image, &loaded_image_guid, (void **)&image);
	if (!EFI_ERROR(status)) {
		status = boot_services->HandleProtocol(image->DeviceHandle, &file_system_guid, (void **)&file_system);
	}
	if (!EFI_ERROR(status)) {
		status = file_system->OpenVolume(file_system, &volume);
	}
	return status;
}

/* `path` is printable ASCII (config.c made sure) and shorter than CONFIG_PATH_MAX. */
static EFI_STATUS open_file(const char *path, EFI_FILE_HANDLE *file)
{
	CHAR16 name[CONFIG_PATH_MAX];
	size_t length = strnlen(path, CONFIG_PATH_MAX - 1);
	for (size_t i = 0; i < length; i++) {
		name[i] = path[i] == '/' ? L'\\' : (CHAR16)(unsigned char)path[i];
	}
	name[length] = 0;
	return volume->Open(volume, file, name, EFI_FILE_MODE_READ, 0);
}

/* Its size, if it is a file that has one. */
static EFI_STATUS measure(EFI_FILE_HANDLE file, uint64_t *bytes, char *reason)
{
	static EFI_GUID file_info_guid = EFI_FILE_INFO_ID;
	union file_info info;
	UINTN size = sizeof(info);
	EFI_STATUS status = file->GetInfo(file, &file_info_guid, &size, &info);
	if (EFI_ERROR(status)) {
		snprintf(reason, REASON_MAX, "cannot be read: %s", boot_status_text(status));
		return status;
	}
	if (info.info.Attribute & EFI_FILE_DIRECTORY) {
		snprintf(reason, REASON_MAX, "is a folder; name a file");
		return EFI_INVALID_PARAMETER;
	}
	if (info.info.FileSize == 0) {
		snprintf(reason, REASON_MAX, "is empty");
		return EFI_END_OF_FILE;
	}
	*bytes = info.info.FileSize;
	return EFI_SUCCESS;
}

/* A timer that expires each second, for files of more than one chunk. NULL: none to be had, no progress lines. */
static EFI_EVENT start_timer(uint64_t bytes)
{
	EFI_EVENT timer;
	if (bytes <= CHUNK_BYTES || EFI_ERROR(boot_services->CreateEvent(EVT_TIMER, 0, NULL, NULL, &timer))) {
		return NULL;
	}
	boot_services->SetTimer(timer, TimerPeriodic, ONE_SECOND);
	return timer;
}

static EFI_STATUS read_chunks(EFI_FILE_HANDLE file, const char *path, void *to, uint64_t bytes, char *reason)
{
	EFI_EVENT timer = start_timer(bytes);
	EFI_STATUS status = EFI_SUCCESS;
	uint64_t done = 0;
	while (done < bytes) {
		UINTN chunk = MIN(bytes - done, CHUNK_BYTES);
		status = file->Read(file, &chunk, (char *)to + done);
		if (EFI_ERROR(status)) {
			snprintf(reason, REASON_MAX, "%s: %llu of %llu bytes, then %s",
			         status == EFI_VOLUME_CORRUPTED ? "is truncated" : "cannot be read to its end",
			         (unsigned long long)done, (unsigned long long)bytes, boot_status_text(status));
			break;
		}
		if (chunk == 0) {
			snprintf(reason, REASON_MAX, "is truncated: %llu of %llu bytes", (unsigned long long)done,
			         (unsigned long long)bytes);
			status = EFI_END_OF_FILE;
			break;
		}
		done += chunk;
		if (timer && boot_services->CheckEvent(timer) == EFI_SUCCESS) {
			boot_print("loading %s: %u %% of %llu KiB", path, (unsigned)(done * 100 / bytes),
			           (unsigned long long)(bytes >> 10));
		}
	}
	if (timer) {
		boot_services->CloseEvent(timer);
	}
	return status;
}

EFI_STATUS files_read(const char *path, struct boot_file *file, char reason[REASON_MAX])
{
	EFI_FILE_HANDLE handle;
	uint64_t bytes;
	EFI_STATUS status = open_file(path, &handle);
	if (EFI_ERROR(status)) {
		snprintf(reason, REASON_MAX, "cannot be opened: %s", boot_status_text(status));
		return status;
	}
	status = measure(handle, &bytes, reason);
	if (EFI_ERROR(status)) {
		goto close;
	}
	void *data = boot_alloc(bytes);
	if (!data) {
		snprintf(reason, REASON_MAX, "has %llu KiB, more than there is free memory",
		         (unsigned long long)(bytes >> 10));
		status = EFI_OUT_OF_RESOURCES;
		goto close;
	}
	status = read_chunks(handle, path, data, bytes, reason);
	if (EFI_ERROR(status)) {
		boot_free(data, bytes);
		goto close;
	}
	*file = (struct boot_file){data, bytes};
close:
	handle->Close(handle);
	return status;
}
