/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration: plain text, a [caisson] section and one [vm NAME] section per VM, `key = value` lines,
 * `#` comments. boot/ parses it before it leaves the firmware, so that every mistake is told there with file
 * name and line number; hv/ only reads the result. Host-tested and fuzzed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_VMS_MAX     32
#define CONFIG_NAME_MAX    32 /* with the terminating 0 */
#define CONFIG_PATH_MAX    128
#define CONFIG_CMDLINE_MAX 512
#define CONFIG_DISKS_MAX   4

/* Same order as the words in config.c's table. */
enum config_backing { CONFIG_LAZY, CONFIG_POPULATE, CONFIG_LINEAR };
enum config_console { CONFIG_CONSOLE_UART, CONFIG_CONSOLE_VIRTIO };
enum config_pages { CONFIG_PAGES_AUTO, CONFIG_PAGES_4K };
enum config_run { CONFIG_RUN_IN_TURN, CONFIG_RUN_TOGETHER };

struct config_disk {
	char path[CONFIG_PATH_MAX]; /* of its image on the volume */
	bool readonly;
	unsigned line;
};

struct config_vm {
	char name[CONFIG_NAME_MAX];       /* letters, digits, - and _ */
	char kernel[CONFIG_PATH_MAX];     /* path on the volume, or builtin:NAME. Required. */
	char initrd[CONFIG_PATH_MAX];     /* path on the volume; empty: none */
	char cmdline[CONFIG_CMDLINE_MAX]; /* the rest of the line, as it is */
	uint64_t memory;                  /* bytes; default 64 MiB; a multiple of 4 KiB, at least 1 MiB */
	struct config_disk disk[CONFIG_DISKS_MAX];
	unsigned disk_count;
	char net[CONFIG_NAME_MAX];   /* the switch that its network device is on; empty: no device */
	enum config_console console; /* which device has the console's input; default uart */
	uint64_t cpu_time;           /* milliseconds of CPU time after which the VM is stopped; 0: no limit */
	enum config_backing backing; /* default lazy */
	enum config_pages pages;     /* default auto */
	unsigned vcpus;              /* default 1 */
	unsigned line;               /* of its [vm NAME] */
	unsigned kernel_line, initrd_line, memory_line; /* of these keys; 0: not set */
};

struct config {
	struct config_vm vms[CONFIG_VMS_MAX];
	unsigned vm_count;
	enum config_run run; /* of all VMs; default in turn, as they stand in the file */
};

/* One mistake: line number (0: the file as a whole) and a text that names the value and the remedy. */
struct config_error {
	unsigned line;
	char text[160];
};

/*
 * Parses `bytes` of text (CR LF and a UTF-8 byte order mark are fine, NUL is not). False: *error says where
 * and what; *config is then undefined. A configuration without any VM is an error.
 */
bool config_parse(const char *text, size_t bytes, struct config *config, struct config_error *error);

/* The configuration that is compiled in: the demo. */
extern const char config_demo[];
