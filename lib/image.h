/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the linker put the image's parts, as set by linker/image_<isa>.ld. All boundaries are 4 KiB-aligned.
 * The image runs at the address where the firmware loaded it, virtual = physical.
 */
#pragma once

extern char image_start[];
extern char text_start[], text_end[];     /* read, execute */
extern char rodata_start[], rodata_end[]; /* read */
extern char data_start[], data_end[];     /* read, write; includes .bss */
extern char image_end[];

/*
 * The boot processor's stack, 64 KiB at the end of the data; hv_main runs on it. The page below it is the guard,
 * which the hypervisor's own page tables leave unmapped.
 */
extern char boot_stack_guard[];
extern char boot_stack[], boot_stack_top[];
