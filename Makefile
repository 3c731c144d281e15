# SPDX-License-Identifier: Apache-2.0
#
# Builds the EFI file of each ISA, the disk images, the host tests and the fuzzers, and opens the doors to the
# rigs. Everything lands in build/. Sources are found by wildcard: a new .c or .S in a floor's folder needs no line here.

ISAS := x86_64 aarch64
BUILD := build
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 20

# V=1 shows the commands, QUIET=1 nothing but errors, DEBUG=1 builds an image that watches its free memory.
Q := $(if $(V),,@)
say = @$(if $(V)$(QUIET),true,printf '%-8s %s\n' $(1) '$(2)')

MAKEFLAGS += --no-builtin-rules --no-builtin-variables
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all usb run test bench coverage-mm lib demo bench-linux bench-mm lint check-layers host-tests \
	host-test-programs bench-linux-programs fuzz-programs race-programs firmware guests deps clean help FORCE

all: $(ISAS:%=$(BUILD)/%/caisson.efi) usb ## both EFI files and both disk images (the default); DEBUG=1 for debug builds

# ---- tools and flags per ISA ----

CC_x86_64 := gcc
CROSS_x86_64 :=
EFI_ARCH_x86_64 := x86_64
EFI_NAME_x86_64 := BOOTX64.EFI
MACHINE_x86_64 := -mno-red-zone -mcmodel=small
IMAGE_x86_64 := -mstack-protector-guard=global
BOOT_x86_64 := -DGNU_EFI_USE_MS_ABI
GNU_EFI_x86_64 := /usr
GUEST_LDFLAGS_x86_64 := -z max-page-size=0x1000
GUEST_HIGH_x86_64 := 0x40100000
# Sections of the PE file: .reloc must be there, or firmware takes the image for one that cannot be moved.
PE_x86_64 = --target efi-app-x86_64 --subsystem=10 --strip-all -j .text -j .reloc -j .dynamic -j .rela -j .relro -j .dynstr -j .rodata -j .data
LDFLAGS_x86_64 :=

CC_aarch64 := aarch64-linux-gnu-gcc
CROSS_aarch64 := aarch64-linux-gnu-
EFI_ARCH_aarch64 := aarch64
EFI_NAME_aarch64 := BOOTAA64.EFI
MACHINE_aarch64 := -mstrict-align -mno-outline-atomics
IMAGE_aarch64 :=
BOOT_aarch64 :=
STATE_aarch64 := arch/aarch64/cpu.S
# arm64's gnu-efi cannot be installed beside amd64's: unpacked by tools/fetch.sh.
GNU_EFI_aarch64 := $(BUILD)/deps/arm64/gnu-efi/usr
GUEST_LDFLAGS_aarch64 := -z max-page-size=0x1000
GUEST_HIGH_aarch64 := 0x80080000
PE_aarch64 := -O binary
LDFLAGS_aarch64 := --defsym=EFI_SUBSYSTEM=0xa

WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror
CFLAGS := -std=gnu11 -ffreestanding -fpie -fvisibility=hidden -mgeneral-regs-only -fno-omit-frame-pointer \
	-fstack-protector-strong -O2 -g $(WARNINGS) -I. $(if $(DEBUG),-DMM_DEBUG)
GUEST_CFLAGS := -std=gnu11 -ffreestanding -fno-pie -mgeneral-regs-only -fno-stack-protector -O2 -g $(WARNINGS) -Iguests
ASFLAGS := -g -I.
LDFLAGS := -nostdlib -pie --no-dynamic-linker -z text -z noexecstack -z norelro -z max-page-size=0x1000 \
	--build-id=none --hash-style=gnu --no-undefined --warn-common --fatal-warnings

# ---- the image and its guests, once per ISA ----

# $(1): ISA
define isa_rules
SOURCES_$(1) := $$(wildcard lib/*.c lib/$(1)/*.S mm/*.c mm/formats/*.c drivers/*.c hv/*.c hv/loaders/*.c \
	hv/devices/*.c arch/$(1)/*.c arch/$(1)/*.S boot/*.c)
OBJECTS_$(1) := $$(SOURCES_$(1):%=$(BUILD)/$(1)/%.o) $(BUILD)/$(1)/builtin.o
GUESTS_$(1) := $$(patsubst guests/%.c,%,$$(wildcard guests/*.c))
GUEST_COMMON_$(1) := $$(patsubst %,$(BUILD)/$(1)/%.o,$$(wildcard guests/lib/*.c guests/$(1)/*.c guests/$(1)/*.S))
CFLAGS_$(1) := $(CFLAGS) $(MACHINE_$(1)) $(IMAGE_$(1)) -Iarch/$(1)
GUEST_CFLAGS_$(1) := $(GUEST_CFLAGS) $(MACHINE_$(1)) -Iguests/$(1)
CRT0_$(1) := $(GNU_EFI_$(1))/lib/crt0-efi-$(EFI_ARCH_$(1)).o

$(BUILD)/$(1)/%.c.o: %.c $(BUILD)/$(1)/flags
	@mkdir -p $$(@D)
	$$(call say,CC,$$@)
	$(Q)$$(CC_$(1)) $$(CFLAGS_$(1)) -MMD -MP -c -o $$@ $$<

$(BUILD)/$(1)/%.S.o: %.S $(BUILD)/$(1)/flags
	@mkdir -p $$(@D)
	$$(call say,AS,$$@)
	$(Q)$$(CC_$(1)) $$(ASFLAGS) -Iarch/$(1) -MMD -MP -c -o $$@ $$<

# Only this floor knows the firmware: its headers, its character and its calling convention.
$(BUILD)/$(1)/boot/%.c.o $(BUILD)/$(1)/tests/firmware/%.c.o: CFLAGS_$(1) += -fshort-wchar $(BOOT_$(1)) \
	-isystem $(GNU_EFI_$(1))/include/efi -isystem $(GNU_EFI_$(1))/include/efi/$(EFI_ARCH_$(1))
$$(patsubst %,$(BUILD)/$(1)/%.o,$$(wildcard boot/*.c tests/firmware/*.c)): | $$(CRT0_$(1))

$(BUILD)/$(1)/guests/%.c.o: CFLAGS_$(1) = $$(GUEST_CFLAGS_$(1))
$(BUILD)/$(1)/guests/%.S.o: ASFLAGS := -g -Iguests -Iguests/$(1)

# Changed flags rebuild everything.
$(BUILD)/$(1)/flags: FORCE
	@mkdir -p $$(@D)
	@echo '$(CFLAGS) $(MACHINE_$(1)) $(IMAGE_$(1)) $(GUEST_CFLAGS) $(BOOT_$(1))' | cmp -s - $$@ || \
		echo '$(CFLAGS) $(MACHINE_$(1)) $(IMAGE_$(1)) $(GUEST_CFLAGS) $(BOOT_$(1))' > $$@

# A guest takes of it what it needs.
$(BUILD)/$(1)/guests/common.a: $$(GUEST_COMMON_$(1))
	$(Q)rm -f $$@ && $(CROSS_$(1))ar rcs $$@ $$^

$(BUILD)/$(1)/guests/%.elf: $(BUILD)/$(1)/guests/%.c.o $(BUILD)/$(1)/guests/common.a linker/guest_$(1).ld
	$$(call say,LD,$$@)
	$(Q)$(CROSS_$(1))ld -nostdlib -static --build-id=none -z noexecstack $(GUEST_LDFLAGS_$(1)) $$(GUEST_AT) \
		-T linker/guest_$(1).ld -o $$@ $$(filter %.o %.a,$$^)

# This one leaves the first GiB of its memory alone.
$(BUILD)/$(1)/guests/walk_high.elf: GUEST_AT := --defsym=guest_at=$(GUEST_HIGH_$(1))

$(BUILD)/x86_64/guests/%.bin: $(BUILD)/x86_64/guests/%.elf
	$(Q)objcopy --strip-all $$< $$@

$(BUILD)/aarch64/guests/%.bin: $(BUILD)/aarch64/guests/%.elf
	$(Q)aarch64-linux-gnu-objcopy -O binary $$< $$@

$(BUILD)/$(1)/builtin.S: tools/builtin.sh $$(GUESTS_$(1):%=$(BUILD)/$(1)/guests/%.bin)
	@mkdir -p $$(@D)
	$(Q)tools/builtin.sh $$(filter %.bin,$$^) > $$@

$(BUILD)/$(1)/builtin.o: $(BUILD)/$(1)/builtin.S
	$(Q)$$(CC_$(1)) -c -o $$@ $$<

# Two links: the first gives the addresses of the functions, the second carries the table of their names. The
# table lies behind the text, so the text must come out the same; tools/symbols.sh check makes sure of that.
$(BUILD)/$(1)/pass1.elf: $$(OBJECTS_$(1)) $(BUILD)/$(1)/symbols0.o linker/image_$(1).ld | $$(CRT0_$(1))
	$$(call say,LD,$$@)
	$(Q)$(CROSS_$(1))ld $(LDFLAGS) $(LDFLAGS_$(1)) -T linker/image_$(1).ld -o $$@ $$(CRT0_$(1)) $$(filter %.o,$$^) \
		$(GNU_EFI_$(1))/lib/libgnuefi.a

$(BUILD)/$(1)/symbols0.S: tools/symbols.sh
	@mkdir -p $$(@D)
	$(Q)tools/symbols.sh empty > $$@

$(BUILD)/$(1)/symbols1.S: $(BUILD)/$(1)/pass1.elf tools/symbols.sh
	$(Q)NM=$(CROSS_$(1))nm tools/symbols.sh table $$< > $$@

$(BUILD)/$(1)/symbols%.o: $(BUILD)/$(1)/symbols%.S
	$(Q)$$(CC_$(1)) -c -o $$@ $$<

$(BUILD)/$(1)/caisson.elf: $(BUILD)/$(1)/pass1.elf $(BUILD)/$(1)/symbols1.o
	$$(call say,LD,$$@)
	$(Q)$(CROSS_$(1))ld $(LDFLAGS) $(LDFLAGS_$(1)) -T linker/image_$(1).ld -o $$@ $$(CRT0_$(1)) $$(OBJECTS_$(1)) \
		$(BUILD)/$(1)/symbols1.o $(GNU_EFI_$(1))/lib/libgnuefi.a
	$(Q)NM=$(CROSS_$(1))nm READELF=$(CROSS_$(1))readelf tools/symbols.sh check $(BUILD)/$(1)/pass1.elf $$@

# States of the machine for tests/rigs/test_firmware.py, which no emulator offers: applications that start the image.
STATES_$(1) := $$(patsubst tests/firmware/$(1)/%.c,%,$$(wildcard tests/firmware/$(1)/*.c))
STATE_COMMON_$(1) := $(BUILD)/$(1)/tests/firmware/start.c.o $$(patsubst %,$(BUILD)/$(1)/%.o,$(STATE_$(1)) \
	$$(wildcard lib/$(1)/mem*.S))
$(BUILD)/$(1)/tests/firmware/%.c.o: CFLAGS_$(1) += -fno-stack-protector

$(BUILD)/$(1)/firmware/%.elf: $(BUILD)/$(1)/tests/firmware/$(1)/%.c.o $$(STATE_COMMON_$(1)) linker/image_$(1).ld
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)
	$(Q)$(CROSS_$(1))ld $(LDFLAGS) $(LDFLAGS_$(1)) -T linker/image_$(1).ld -o $$@ $$(CRT0_$(1)) $$(filter %.o,$$^) \
		$(GNU_EFI_$(1))/lib/libgnuefi.a

# And a driver (subsystem 11) for a disk without timing: run-qemu.sh --ramdisk.
$(BUILD)/$(1)/firmware/ramdisk.efi: PE_x86_64 := $(subst subsystem=10,subsystem=11,$(PE_x86_64))
$(BUILD)/$(1)/firmware/ramdisk.elf: LDFLAGS_aarch64 := --defsym=EFI_SUBSYSTEM=0xb
$(BUILD)/$(1)/firmware/ramdisk.elf: $(BUILD)/$(1)/tests/firmware/ramdisk.c.o linker/image_$(1).ld | $$(CRT0_$(1))
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)
	$(Q)$(CROSS_$(1))ld $(LDFLAGS) $$(LDFLAGS_$(1)) -T linker/image_$(1).ld -o $$@ $$(CRT0_$(1)) $$(filter %.o,$$^) \
		$(GNU_EFI_$(1))/lib/libgnuefi.a

firmware: $$(STATES_$(1):%=$(BUILD)/$(1)/firmware/%.efi) $(BUILD)/$(1)/firmware/ramdisk.efi

$(BUILD)/$(1)/%.efi: $(BUILD)/$(1)/%.elf
	$$(call say,OBJCOPY,$$@)
	$(Q)$(CROSS_$(1))objcopy $$(PE_$(1)) $$< $$@

$(BUILD)/caisson-$(1).img: $(BUILD)/$(1)/caisson.efi tools/mkimage.sh
	$$(call say,MKIMAGE,$$@)
	$(Q)tools/mkimage.sh --efi $$< --name $(EFI_NAME_$(1)) --output $$@

guests: $$(GUESTS_$(1):%=$(BUILD)/$(1)/guests/%.bin)
usb: $(BUILD)/caisson-$(1).img

-include $$(patsubst %.o,%.d,$$(OBJECTS_$(1)) $$(GUEST_COMMON_$(1)) $$(GUESTS_$(1):%=$(BUILD)/$(1)/guests/%.c.o) \
	$$(STATE_COMMON_$(1)) $$(STATES_$(1):%=$(BUILD)/$(1)/tests/firmware/$(1)/%.c.o))
endef
$(foreach isa,$(ISAS),$(eval $(call isa_rules,$(isa))))

$(GNU_EFI_aarch64)/lib/%: tools/fetch.sh
	$(call say,FETCH,gnu-efi for arm64)
	$(Q)tools/fetch.sh arm64 gnu-efi >/dev/null
	@touch -c $@

usb: ## build/caisson-x86_64.img and build/caisson-aarch64.img, ready for a USB stick
guests: ## the built-in guests alone

# ---- tests on the host: cmocka under the sanitizers, libFuzzer ----
#
# A test is one file tests/host/test_NAME.c (or fuzz_NAME.c); its first comment names what is linked with it,
# wildcards allowed, on one line:    // sources: mm/*.c hv/config.c

HOST_FLAGS := -std=gnu11 -g -O1 -fno-omit-frame-pointer $(WARNINGS) -I. -Iarch/x86_64 -DMM_DEBUG
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all
HOST_TESTS := $(patsubst tests/host/%.c,%,$(wildcard tests/host/test_*.c))
FUZZERS := $(patsubst tests/host/fuzz_%.c,%,$(wildcard tests/host/fuzz_*.c))

# $(1): the test's name; answers the sources that its comment names. Those of mm/ all stand on the same arena.
comment_names = $(wildcard $(shell sed -nE '20q;s,^(//|/\*) sources: ,,;T;s, *\*/ *$$,,;p' tests/host/$(1).c))
named_sources = $(sort $(call comment_names,$(1)) $(if $(filter test_mm_% fuzz_mm% race_mm%,$(1)),$(MM_TEST_SOURCES)))
MM_TEST_SOURCES := tests/host/mm_arena.c $(wildcard mm/*.c mm/formats/*.c) lib/rbtree.c

define host_test_rules
$(BUILD)/host/$(1): $(BUILD)/host/tests/host/$(1).c.o $$(patsubst %,$(BUILD)/host/%.o,$$(call named_sources,$(1)))
	$$(call say,HOSTLD,$$@)
	$(Q)gcc $(SANITIZE) -o $$@ $$^ -lcmocka -lpthread
endef
$(foreach test,$(HOST_TESTS),$(eval $(call host_test_rules,$(test))))

define fuzzer_rules
$(BUILD)/host/fuzz_$(1): tests/host/fuzz_$(1).c $$(call named_sources,fuzz_$(1)) $$(wildcard */*.h)
	@mkdir -p $$(@D)
	$$(call say,CLANG,$$@)
	$(Q)clang -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all $(HOST_FLAGS) -o $$@ $$(filter %.c,$$^) -lcmocka -lpthread
endef
$(foreach fuzzer,$(FUZZERS),$(eval $(call fuzzer_rules,$(fuzzer))))

$(BUILD)/host/%.c.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,HOSTCC,$@)
	$(Q)gcc $(SANITIZE) $(HOST_FLAGS) -MMD -MP -c -o $@ $<

-include $(shell find $(BUILD)/host -name '*.d' 2>/dev/null)

# Races: tests/host/race_NAME.c, whose sources are named likewise, under ThreadSanitizer.
RACES := $(patsubst tests/host/race_%.c,%,$(wildcard tests/host/race_*.c))

define race_rules
$(BUILD)/host/race_$(1): tests/host/race_$(1).c $$(call named_sources,race_$(1)) $$(wildcard */*.h)
	@mkdir -p $$(@D)
	$$(call say,TSAN,$$@)
	$(Q)gcc -fsanitize=thread $(HOST_FLAGS) -o $$@ $$(filter %.c,$$^) -lcmocka -lpthread
endef
$(foreach race,$(RACES),$(eval $(call race_rules,$(race))))

race-%: $(BUILD)/host/race_% ## race-NAME: run tests/host/race_NAME.c under ThreadSanitizer
	$(Q)$(BUILD)/host/race_$*

# Which lines of mm/ its tests reach. The objects are shared, so that the counts of all tests add up in one place.
COVERED_TESTS := $(filter test_mm_%,$(HOST_TESTS))

define coverage_rules
$(BUILD)/coverage/$(1): $(BUILD)/coverage/tests/host/$(1).c.o $$(patsubst %,$(BUILD)/coverage/%.o,$$(call named_sources,$(1)))
	$$(call say,GCOVLD,$$@)
	$(Q)gcc --coverage -o $$@ $$^ -lcmocka -lpthread
endef
$(foreach test,$(COVERED_TESTS),$(eval $(call coverage_rules,$(test))))

$(BUILD)/coverage/%.c.o: %.c $(wildcard mm/*.h lib/*.h tests/host/*.h)
	@mkdir -p $(@D)
	$(call say,GCOVCC,$@)
	$(Q)gcc --coverage $(HOST_FLAGS) -O0 -c -o $@ $<

coverage-mm: $(COVERED_TESTS:%=$(BUILD)/coverage/%) ## line coverage of mm/ by its tests, by file; fails under 97 %
	@find $(BUILD)/coverage -name '*.gcda' -delete
	@for test in $(COVERED_TESTS); do \
		MM_MODEL_CALLS=150 $(BUILD)/coverage/$$test > $(BUILD)/coverage/$$test.log 2>&1 || { \
			echo "failed  $$test"; tail -n 40 $(BUILD)/coverage/$$test.log; exit 1; }; done
	@tools/coverage.py --least 97 mm $(BUILD)/coverage

host-test-programs: $(HOST_TESTS:%=$(BUILD)/host/%)
fuzz-programs: $(FUZZERS:%=$(BUILD)/host/fuzz_%)
race-programs: $(RACES:%=$(BUILD)/host/race_%)

host-tests: host-test-programs ## build and run every tests/host/test_*.c under ASan and UBSan
	@failed=0; for test in $(HOST_TESTS); do \
		if $(BUILD)/host/$$test > $(BUILD)/host/$$test.log 2>&1; then \
			echo "passed  $$test ($$(grep -c '^\[       OK' $(BUILD)/host/$$test.log))"; \
		else \
			echo "failed  $$test"; tail -n 40 $(BUILD)/host/$$test.log; failed=1; \
		fi; done; exit $$failed

fuzz-%: $(BUILD)/host/fuzz_% ## fuzz-NAME: run tests/host/fuzz_NAME.c for FUZZ_SECONDS (20)
	@mkdir -p $(BUILD)/fuzz/$*
	$(Q)$(BUILD)/host/fuzz_$* -max_total_time=$(FUZZ_SECONDS) -timeout=10 -print_final_stats=1 \
		-artifact_prefix=$(BUILD)/fuzz/$*- $(BUILD)/fuzz/$* $(wildcard tests/host/corpus_$*)

# What mm/ costs: the image's own objects on the host, counted by tools/bench_mm.py. Addresses are those of the file.
MM_BENCH := $(patsubst %,$(BUILD)/x86_64/%.o,$(wildcard mm/*.c mm/formats/*.c) lib/rbtree.c lib/printf.c lib/string.c \
	lib/x86_64/memset.S lib/x86_64/memcpy.S)
$(BUILD)/host/mm_bench: tests/bench/mm_bench.c $(MM_BENCH)
	@mkdir -p $(@D)
	$(call say,HOSTLD,$@)
	$(Q)gcc -std=gnu11 -O2 -g $(WARNINGS) -I. -no-pie -fno-pie -o $@ $^

# What Linux costs as a guest, counted by tools/bench_linux.py: a plugin of QEMU's, and a program for that Linux.
LINUX_FLAGS := -std=gnu11 -O2 $(WARNINGS) -I.
bench-linux-programs: all firmware $(BUILD)/host/count_plugin.so $(ISAS:%=$(BUILD)/linux/%/work)
$(BUILD)/host/count_plugin.so: tests/bench/count_plugin.c tests/linux/mark.h
	@mkdir -p $(@D)
	$(call say,HOSTLD,$@)
	$(Q)gcc $(LINUX_FLAGS) -fPIC -shared -fvisibility=hidden -o $@ $<

$(BUILD)/linux/%/work: tests/linux/work.c tests/linux/mark.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC_$*) $(LINUX_FLAGS) -static -o $@ $<

# ---- mm/ by itself ----
#
# For any program of this machine: no sanitizers, no kernel's flags. What it takes from a C library is memcpy, memset
# and snprintf. Users include mm/*.h from the top of this tree.

LIB_FLAGS := -std=gnu11 -O2 -g $(WARNINGS) -I.
LIB_SOURCES := $(wildcard mm/*.c mm/formats/*.c) lib/rbtree.c

$(BUILD)/lib/%.c.o: %.c
	@mkdir -p $(@D)
	$(call say,LIBCC,$@)
	$(Q)gcc $(LIB_FLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/libmm.a: $(LIB_SOURCES:%=$(BUILD)/lib/%.o)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/examples/%: examples/%.c $(BUILD)/libmm.a
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)gcc $(LIB_FLAGS) -o $@ $^

-include $(LIB_SOURCES:%.c=$(BUILD)/lib/%.c.d)

lib: $(BUILD)/libmm.a ## build/libmm.a: mm/ for any program of this machine, with mm/*.h as its interface

demo: $(BUILD)/examples/mm_demo ## run examples/mm_demo.c, which shows how
	@$<

# ---- doors ----

deps: ## install what building and running need (as root; else print the apt-get line)
	@tools/deps.sh

run: deps ## boot the demo on the best rig of this machine; RIG=vmx|svm|svm-bochs|el2|kvm|kvm-nested chooses
	@$(MAKE) --no-print-directory QUIET=1 -j$(JOBS) all
	@./run-qemu.sh $(if $(RIG),--rig $(RIG))

test: deps ## everything on all rigs; T=PATTERN runs some
	@$(MAKE) --no-print-directory QUIET=1 -j$(JOBS) host-test-programs fuzz-programs race-programs \
		$(BUILD)/host/mm_bench bench-linux-programs
	@tests/run.py $(if $(T),'$(T)')

bench: deps ## instruction counts on the rigs: a table and build/bench.json; see also bench-linux and bench-mm
	@$(MAKE) --no-print-directory QUIET=1 -j$(JOBS) all
	@tools/bench.py

bench-linux: deps ## what Debian's kernel costs as a guest, beside the same one bare: a table and build/bench.json
	@tools/bench_linux.py

bench-mm: deps ## what mm/ costs in instructions, beside its model: a table and build/bench.json
	@$(MAKE) --no-print-directory QUIET=1 -j$(JOBS) $(BUILD)/host/mm_bench
	@tools/bench_mm.py

# ---- checks of the source ----

OURS := boot hv arch mm drivers lib guests tests tools examples
OUR_C = $(shell find $(OURS) -name '*.[ch]' 2>/dev/null | sort)
OUR_PYTHON = $(shell find $(OURS) -name '*.py' 2>/dev/null | sort)
OUR_SHELL = $(shell grep -rlE '^\#!/(usr/)?bin/(env )?(ba)?sh' $(OURS) run-qemu.sh .ci 2>/dev/null | sort)

TIDY_FLAGS := -std=gnu11 -ffreestanding -fshort-wchar -I. -DMM_DEBUG
TIDY_x86_64 = $(filter-out boot/%,$(filter %.c,$(SOURCES_x86_64))) $(wildcard tests/firmware/x86_64/*.c)
TIDY_aarch64 = $(wildcard arch/aarch64/*.c tests/firmware/aarch64/*.c)
# $(1): files, $(2): the compiler's flags. A few files a run, as many runs as there are CPUs.
tidy = @echo $(1) | xargs -n 4 -P $(JOBS) sh -c 'clang-tidy --quiet "$$@" -- $(2) 2>/dev/null' tidy

CPPCHECK := cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,performance,portability \
	--suppressions-list=tools/cppcheck.suppressions -I. -DMM_DEBUG

LINTS := lint-format lint-tidy-x86_64 lint-tidy-aarch64 lint-tidy-boot lint-cppcheck-x86_64 lint-cppcheck-aarch64 \
	lint-cppcheck-guests lint-shell lint-python
.PHONY: $(LINTS) format

lint: ## clang-format, clang-tidy, cppcheck, shellcheck, black and mypy over our files
	@$(MAKE) --no-print-directory -k $(LINTS)

lint-format:
	@clang-format --dry-run -Werror $(OUR_C)

lint-tidy-x86_64:
	$(call tidy,$(TIDY_x86_64),--target=x86_64-linux-gnu $(TIDY_FLAGS) -Iarch/x86_64)

lint-tidy-aarch64:
	$(call tidy,$(TIDY_aarch64),--target=aarch64-linux-gnu $(TIDY_FLAGS) -Iarch/aarch64)

lint-tidy-boot:
	$(call tidy,$(wildcard boot/*.c tests/firmware/*.c),--target=x86_64-linux-gnu $(TIDY_FLAGS) $(BOOT_x86_64) \
		-isystem /usr/include/efi -isystem /usr/include/efi/x86_64)

lint-cppcheck-x86_64:
	@$(CPPCHECK) -j$(JOBS) -D__x86_64__ -Iarch/x86_64 $(filter %.c,$(SOURCES_x86_64)) \
		$(wildcard tests/host/*.c tests/bench/*.c tests/linux/*.c tests/firmware/*.c tests/firmware/x86_64/*.c)

lint-cppcheck-aarch64:
	@$(CPPCHECK) -j$(JOBS) -D__aarch64__ -Iarch/aarch64 $(TIDY_aarch64)

lint-cppcheck-guests:
	@$(CPPCHECK) -D__x86_64__ -Iguests $(wildcard guests/*.c guests/lib/*.c guests/x86_64/*.c)

lint-shell:
	@shellcheck $(OUR_SHELL)

lint-python:
	@black -q -l 120 --diff --check $(OUR_PYTHON)
	@mypy --strict --no-error-summary --cache-dir $(BUILD)/mypy $(OUR_PYTHON)

format: ## clang-format and black over our files, in place
	@clang-format -i $(OUR_C)
	@black -q -l 120 $(OUR_PYTHON)

check-layers: ## the floors' table of includes: calls go down only
	tools/check-layers.sh

clean: ## remove build/ but for what was fetched
	find $(BUILD) -mindepth 1 -maxdepth 1 ! -name deps -exec rm -rf {} +

help: ## this list
	@sed -n 's/^\([a-z%-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16
