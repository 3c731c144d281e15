/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the firmware knows of the machine: tables, CPUs, memory; and the way out of it. main.c calls it when all
 * files are loaded. UEFI specification 2.10, chapters 4, 7 and 12; MP Services: PI specification, volume 2.
 */
#include "boot/boot.h"

#include "drivers/acpi_tables.h"
#include "drivers/fdt.h"
#include "lib/string.h"
#include "lib/util.h"

/* ---- tables ---- */

/* RSDP: ACPI specification 6.5, 5.2.5.3. */
#define RSDP_BYTES_ACPI_1  20
#define RSDP_LENGTH_OFFSET 20
#define RSDP_BYTES_MAX     64

static const void *find_table(const EFI_GUID *guid)
{
	for (UINTN i = 0; i < boot_system->NumberOfTableEntries; i++) {
		const EFI_CONFIGURATION_TABLE *table = &boot_system->ConfigurationTable[i];
		if (memcmp(&table->VendorGuid, guid, sizeof(*guid)) == 0) {
			return table->VendorTable;
		}
	}
	return NULL;
}

/* Some firmware keeps the RSDP where the memory map shows nothing or reserved memory: taken along. */
static hpa_t copy_rsdp(void)
{
	static const EFI_GUID acpi_2 = ACPI_20_TABLE_GUID, acpi_1 = ACPI_TABLE_GUID;
	static char copy[RSDP_BYTES_MAX] __attribute__((aligned(16)));
	uint32_t bytes = RSDP_BYTES_ACPI_1;
	const char *rsdp = find_table(&acpi_2);
	if (rsdp) {
		memcpy(&bytes, rsdp + RSDP_LENGTH_OFFSET, sizeof(bytes));
	} else {
		rsdp = find_table(&acpi_1);
	}
	if (!rsdp || bytes < RSDP_BYTES_ACPI_1 || bytes > sizeof(copy)) {
		return (uintptr_t)rsdp;
	}
	memcpy(copy, rsdp, bytes);
	return (uintptr_t)copy;
}

/* The firmware's device tree may lie in boot-services memory, which does not outlive the firmware. */
static EFI_STATUS copy_fdt(hpa_t *address)
{
	static const EFI_GUID fdt_guid = EFI_DTB_TABLE_GUID;
	const void *blob = find_table(&fdt_guid);
	struct fdt fdt;
	*address = 0;
	if (!blob || !fdt_open(&fdt, blob, SIZE_MAX)) {
		return EFI_SUCCESS;
	}
	void *copy = boot_alloc(fdt.size);
	if (!copy) {
		boot_print("no memory for a copy of the device tree, %u bytes", fdt.size);
		return EFI_OUT_OF_RESOURCES;
	}
	memcpy(copy, blob, fdt.size);
	*address = (uintptr_t)copy;
	return EFI_SUCCESS;
}

/* ---- CPUs ---- */

/* EFI_MP_SERVICES_PROTOCOL, as far as it is used: PI specification 1.7, volume 2, 13.4. */
#define MP_SERVICES_GUID                                                                                               \
	{                                                                                                              \
		0x3fdda605, 0xa76e, 0x4f46,                                                                            \
		{                                                                                                      \
			0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08                                                 \
		}                                                                                                      \
	}
#define PROCESSOR_AS_BSP_BIT        BIT(0)
#define PROCESSOR_ENABLED_BIT       BIT(1)
#define PROCESSOR_HEALTH_STATUS_BIT BIT(2)

struct processor_information {
	UINT64 processor_id;
	UINT32 status_flag;
	UINT32 location[3];
	UINT32 extended_location[6]; /* filled only if asked for, but it is there */
};

struct mp_services {
	EFI_STATUS(EFIAPI *get_number_of_processors)(struct mp_services *this, UINTN *count, UINTN *enabled);
	EFI_STATUS(EFIAPI *get_processor_info)
	(struct mp_services *this, UINTN number, struct processor_information *info);
};

static void cpus_from_mp_services(struct boot_info *info)
{
	static EFI_GUID guid = MP_SERVICES_GUID;
	struct mp_services *mp;
	UINTN count, enabled;
	if (EFI_ERROR(boot_services->LocateProtocol(&guid, NULL, (void **)&mp)) ||
	    EFI_ERROR(mp->get_number_of_processors(mp, &count, &enabled))) {
		return;
	}
	for (UINTN i = 0; i < count && info->cpu_count < BOOT_CPUS_MAX; i++) {
		struct processor_information processor;
		if (EFI_ERROR(mp->get_processor_info(mp, i, &processor)) ||
		    !(processor.status_flag & PROCESSOR_ENABLED_BIT) ||
		    !(processor.status_flag & PROCESSOR_HEALTH_STATUS_BIT)) {
			continue;
		}
		info->cpus[info->cpu_count++] = (struct boot_cpu){
			.id = processor.processor_id,
			.boot_cpu = processor.status_flag & PROCESSOR_AS_BSP_BIT,
		};
	}
}

/* Tables do not say who the boot processor is; by convention it is the first (ACPI specification 6.5, 5.2.12.1). */
static void cpus_from_tables(struct boot_info *info)
{
	uint64_t ids[BOOT_CPUS_MAX];
	struct acpi_tables tables;
	struct fdt fdt;
	unsigned count = 0;
	if (info->acpi_rsdp != 0 && acpi_open(&tables, info->acpi_rsdp, NULL, NULL)) {
		count = acpi_cpus(&tables, ids, BOOT_CPUS_MAX);
	}
	if (count == 0 && info->fdt != 0 && fdt_open(&fdt, (const void *)(uintptr_t)info->fdt, SIZE_MAX)) {
		count = fdt_cpus(&fdt, ids, BOOT_CPUS_MAX);
	}
	info->cpu_count = MIN(count, BOOT_CPUS_MAX);
	for (unsigned i = 0; i < info->cpu_count; i++) {
		info->cpus[i] = (struct boot_cpu){.id = ids[i], .boot_cpu = i == 0};
	}
}

/* ---- randomness ---- */

/* UEFI specification 2.10, 37.5. Its default algorithm. */
static void draw_random_seed(struct boot_info *info)
{
	static EFI_GUID guid = EFI_RNG_PROTOCOL_GUID;
	EFI_RNG_PROTOCOL *rng;
	info->has_random_seed = !EFI_ERROR(boot_services->LocateProtocol(&guid, NULL, (void **)&rng)) &&
	                        !EFI_ERROR(rng->GetRNG(rng, NULL, sizeof(info->random_seed), info->random_seed));
}

EFI_STATUS machine_describe(struct boot_info *info)
{
	info->acpi_rsdp = copy_rsdp();
	EFI_STATUS status = copy_fdt(&info->fdt);
	if (EFI_ERROR(status)) {
		return status;
	}
	draw_random_seed(info);
	cpus_from_mp_services(info);
	if (info->cpu_count == 0) {
		cpus_from_tables(info);
	}
	if (info->cpu_count == 0) {
		info->cpus[info->cpu_count++] = (struct boot_cpu){.boot_cpu = true};
	}
	return EFI_SUCCESS;
}

/* ---- memory ---- */

/* Room for more descriptors than the firmware told of: each allocation may add some. */
#define MAP_SLACK_BYTES KIB(4)
#define MAP_BYTES_FIRST KIB(32)

struct memory_map {
	char *descriptors; /* from boot_alloc */
	UINTN capacity;    /* bytes */
	UINTN bytes, stride, key;
};

static struct memory_map map;

static enum memory_kind kind_of(const EFI_MEMORY_DESCRIPTOR *descriptor)
{
	switch (descriptor->Type) {
	case EfiConventionalMemory:
		return MEMORY_CONVENTIONAL;
	case EfiLoaderCode:
	case EfiLoaderData:
	case EfiBootServicesCode: /* see struct boot_info, reclaimable */
	case EfiBootServicesData:
		return MEMORY_LOADED;
	case EfiACPIReclaimMemory:
	case EfiACPIMemoryNVS:
		return MEMORY_ACPI;
	case EfiMemoryMappedIO:
	case EfiMemoryMappedIOPortSpace:
		return MEMORY_DEVICE;
	default:
		/* Runtime services code and data, and whatever else they say they need. */
		return descriptor->Attribute & EFI_MEMORY_RUNTIME ? MEMORY_FIRMWARE : MEMORY_RESERVED;
	}
}

static hpa_t region_end(const struct memory_region *region)
{
	return region->base + (region->frames << FRAME_SHIFT);
}

static bool joins(const struct memory_region *below, const struct memory_region *above)
{
	return below->kind == above->kind && region_end(below) == above->base;
}

/*
 * Puts `region` into the sorted list, joined with neighbours of its kind. Firmware mostly sorts its map, so the
 * place is looked for from the end. False: it overlaps another one, or the list is full.
 */
static bool add_region(struct memory_region *regions, unsigned *count, struct memory_region region)
{
	unsigned place = *count;
	while (place > 0 && regions[place - 1].base > region.base) {
		place--;
	}
	struct memory_region *below = place > 0 ? &regions[place - 1] : NULL;
	struct memory_region *above = place < *count ? &regions[place] : NULL;
	if ((below && region_end(below) > region.base) || (above && region_end(&region) > above->base)) {
		return false;
	}
	if (below && joins(below, &region)) {
		below->frames += region.frames;
		if (above && joins(below, above)) {
			below->frames += above->frames;
			memmove(above, above + 1, (--*count - place) * sizeof(*above));
		}
		return true;
	}
	if (above && joins(&region, above)) {
		above->base = region.base;
		above->frames += region.frames;
		return true;
	}
	if (*count == FRAME_REGIONS_MAX) {
		return false;
	}
	memmove(&regions[place + 1], &regions[place], (*count - place) * sizeof(region));
	regions[place] = region;
	++*count;
	return true;
}

static bool add_descriptor(struct boot_info *info, const EFI_MEMORY_DESCRIPTOR *descriptor)
{
	struct memory_region region = {descriptor->PhysicalStart, descriptor->NumberOfPages, kind_of(descriptor)};
	if (region.frames == 0) {
		return true;
	}
	if (!is_aligned(region.base, FRAME_SIZE) || region.frames > (UINT64_MAX - region.base) >> FRAME_SHIFT ||
	    !add_region(info->regions, &info->region_count, region)) {
		return false;
	}
	if (descriptor->Type != EfiBootServicesCode && descriptor->Type != EfiBootServicesData) {
		return true;
	}
	if (region.base == 0) { /* frame 0 is never used */
		region.base += FRAME_SIZE;
		region.frames--;
	}
	return region.frames == 0 || add_region(info->reclaimable, &info->reclaimable_count, region);
}

/* Fetches the map and makes regions of it. Calls nothing else of the firmware, so that `map.key` stays valid. */
static EFI_STATUS fetch_map(struct boot_info *info, const EFI_MEMORY_DESCRIPTOR **bad)
{
	UINT32 version;
	map.bytes = map.capacity;
	EFI_STATUS status = boot_services->GetMemoryMap(&map.bytes, (EFI_MEMORY_DESCRIPTOR *)map.descriptors, &map.key,
	                                                &map.stride, &version);
	if (EFI_ERROR(status)) {
		return status;
	}
	info->region_count = 0;
	info->reclaimable_count = 0;
	for (UINTN at = 0; at + map.stride <= map.bytes; at += map.stride) {
		*bad = (const EFI_MEMORY_DESCRIPTOR *)(map.descriptors + at);
		if (!add_descriptor(info, *bad)) {
			return EFI_LOAD_ERROR;
		}
	}
	return EFI_SUCCESS;
}

EFI_STATUS machine_map_memory(struct boot_info *info)
{
	const EFI_MEMORY_DESCRIPTOR *bad;
	EFI_STATUS status = EFI_BUFFER_TOO_SMALL;
	map.bytes = MAP_BYTES_FIRST - MAP_SLACK_BYTES;
	while (status == EFI_BUFFER_TOO_SMALL) {
		if (map.descriptors) {
			boot_free(map.descriptors, map.capacity);
		}
		map.capacity = map.bytes + MAP_SLACK_BYTES;
		map.descriptors = boot_alloc(map.capacity);
		if (!map.descriptors) {
			boot_print("no memory for the memory map, %llu bytes", (unsigned long long)map.capacity);
			return EFI_OUT_OF_RESOURCES;
		}
		status = fetch_map(info, &bad);
	}
	if (status == EFI_LOAD_ERROR) {
		boot_print("the firmware's memory map is unusable: %llu pages of type %u at 0x%llx overlap others, or "
		           "there "
		           "are more than %u regions; look for a firmware update",
		           (unsigned long long)bad->NumberOfPages, bad->Type, (unsigned long long)bad->PhysicalStart,
		           FRAME_REGIONS_MAX);
	} else if (EFI_ERROR(status)) {
		boot_print("the firmware gives no memory map: %s", boot_status_text(status));
	}
	return status;
}

/*
 * UEFI 2.10, 7.4 ExitBootServices: the key is refused if the map has changed since. Then it is fetched again, and
 * nothing else may be called any more.
 */
EFI_STATUS machine_leave_firmware(struct boot_info *info)
{
	enum { ATTEMPTS = 8 };
	const EFI_MEMORY_DESCRIPTOR *bad;
	EFI_STATUS status = EFI_INVALID_PARAMETER;
	for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++) {
		status = boot_services->ExitBootServices(boot_image, map.key);
		if (status != EFI_INVALID_PARAMETER) {
			break;
		}
		status = fetch_map(info, &bad);
		if (EFI_ERROR(status)) {
			break;
		}
	}
	return status;
}
