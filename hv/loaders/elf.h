/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF files of 32 and 64 bits for x86, as far as loaders of kernels need them (System V ABI, chapters 4 and 5). Called
 * by pvh.c and multiboot.c. Nothing is believed of a file that it has not shown.
 */
#pragma once

#include "hv/loaders/loader.h"

#define ELF_SEGMENTS_MAX 32

struct elf_segment {
	uint32_t type; /* ELF_PT_ */
	uint64_t offset, vaddr, paddr, filesz, memsz;
};
#define ELF_PT_LOAD 1
#define ELF_PT_NOTE 4

struct elf_image {
	uint64_t entry; /* as the file has it: may be a virtual address */
	unsigned count;
	struct elf_segment segment[ELF_SEGMENTS_MAX];
};

bool elf_is_32(const struct loader *loader);

/* Reads the headers. False: loader->message. */
bool elf_read(struct loader *loader, struct elf_image *image);

/* Copies `bytes` from `offset` of the kernel's file. False: they are not all there. */
bool elf_read_at(const struct loader *loader, uint64_t offset, void *to, uint64_t bytes);

/*
 * Writes the PT_LOAD segments to their physical addresses; *top is the end of the highest. image->entry must be a
 * physical address below 4 GiB in one of them by then. False: loader->message.
 */
bool elf_load(struct loader *loader, const struct elf_image *image, gpa_t *top);
