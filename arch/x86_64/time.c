/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frequency of the time stamp counter. arch_check asks for it once, while the firmware still owns the
 * machine: what is touched is put back. What CPUID claims is believed only when the 8254 timer, where there is
 * one, does not contradict it: emulators show the claims of the CPU they model, whatever their TSC counts.
 */
#include "arch/x86_64/cpu.h"

#include "arch/arch.h"
#include "drivers/acpi_tables.h"
#include "lib/io.h"
#include "lib/string.h"

/* SDM vol. 2A CPUID: the TSC's ratio to the crystal; the nominal frequency in MHz. */
#define CPUID_TSC       0x15
#define CPUID_FREQUENCY 0x16
/* The timing leaf that VMware introduced and KVM took over: EAX is the TSC's frequency in kHz. */
#define CPUID_HYPERVISOR        0x40000000
#define CPUID_HYPERVISOR_TIMING 0x40000010

/* The 8254 (its data sheet) and port 0x61, "NMI status and control", of every PC chip set. */
#define PIT_HZ           UINT64_C(1193182)
#define PIT_CHANNEL2     0x42
#define PIT_COMMAND      0x43
#define PIT_COUNT_DOWN_2 0xb0 /* channel 2, low byte then high byte, mode 0, binary */
#define PIT_LATCH_2      0x80
#define PIT_LOAD         0xff   /* both bytes */
#define PIT_JUST_LOADED  0x0fff /* counts further gone shortly after that are the old ones */
#define PORT_CONTROL     0x61
#define CONTROL_GATE2    0x01
#define CONTROL_SPEAKER  0x02
#define CONTROL_WRITABLE 0x0f

/* The ACPI power management timer: ACPI specification 4.8.3.3, FADT in 5.2.9. */
#define PM_TIMER_HZ        UINT64_C(3579545)
#define FADT_PM_TMR_BLK    76
#define FADT_FLAGS         112
#define FADT_FLAGS_VAL_EXT BIT(8) /* 32 bits wide, not 24 */

#define MEASURES_PER_SECOND 1000   /* each takes a millisecond */
#define READS_MAX           200000 /* a bound; each takes three microseconds on real machines */
#define READS_STOPPED       1000   /* a clock that has not moved in so many is none */
#define MEASURES_MAX        4
#define SAMPLES             5
#define AGREE_SHIFT         6 /* two frequencies agree when they differ by less than 1/64 */
#define PLAUSIBLE_HZ_MIN    UINT64_C(1000000)
#define PLAUSIBLE_HZ_MAX    UINT64_C(100000000000)
#define GUESS_HZ            UINT64_C(2000000000)

/* A clock that counts up, to measure against. */
struct reference {
	uint64_t hz;
	uint32_t mask; /* of its width */
	uint32_t (*read)(void);
};

static uint16_t pm_timer_port;
static uint64_t tsc_hz;
static const char *source;
static bool guessed;

uint64_t arch_counter(void)
{
	return rdtsc();
}

uint64_t arch_counter_hz(void)
{
	return tsc_hz;
}

const char *x86_time_source(void)
{
	return source;
}

static bool agree(uint64_t a, uint64_t b)
{
	uint64_t difference = a > b ? a - b : b - a;
	return difference < (MAX(a, b) >> AGREE_SHIFT);
}

/* ---- measuring ---- */

/* One reading of the reference, the TSC just before it, and the TSC ticks that reading took. */
struct sample {
	uint64_t tsc, uncertainty;
	uint32_t count;
};

/* An SMI, or the host of an emulator busy elsewhere, can come in between: the quickest of a few is the true one. */
static struct sample best_sample(const struct reference *reference)
{
	struct sample best = {.uncertainty = UINT64_MAX};
	for (unsigned i = 0; i < SAMPLES; i++) {
		struct sample sample = {.tsc = rdtsc(), .count = reference->read()};
		sample.uncertainty = rdtsc() - sample.tsc;
		if (sample.uncertainty < best.uncertainty) {
			best = sample;
		}
	}
	return best;
}

/* TSC ticks a second as seen for about a millisecond, 0: the reference does not count. */
static uint64_t measure_once(const struct reference *reference)
{
	uint32_t wanted = (uint32_t)(reference->hz / MEASURES_PER_SECOND), gone = 0;
	struct sample start = best_sample(reference);
	for (unsigned reads = 0; reads < READS_MAX && gone < wanted; reads++) {
		gone = (reference->read() - start.count) & reference->mask;
		if (gone == 0 && reads >= READS_STOPPED) {
			return 0;
		}
	}
	struct sample end = best_sample(reference);
	gone = (end.count - start.count) & reference->mask;
	if (gone < wanted) {
		return 0;
	}
	uint64_t hz = (end.tsc - start.tsc) * reference->hz / gone;
	return hz >= PLAUSIBLE_HZ_MIN && hz <= PLAUSIBLE_HZ_MAX ? hz : 0;
}

/* Until two measures in a row agree. */
static uint64_t measure(const struct reference *reference)
{
	uint64_t hz = measure_once(reference);
	for (unsigned i = 1; hz != 0 && i < MEASURES_MAX; i++) {
		uint64_t before = hz;
		hz = measure_once(reference);
		if (agree(hz, before)) {
			break;
		}
	}
	return hz;
}

static uint32_t read_pit(void)
{
	port_write8(PIT_COMMAND, PIT_LATCH_2);
	uint32_t low = port_read8(PIT_CHANNEL2);
	uint32_t high = port_read8(PIT_CHANNEL2);
	return UINT16_MAX - (high << 8 | low);
}

/* Starts channel 2 and sees it through the clock cycle in which it takes the new count. False: it does not. */
static bool start_pit(void)
{
	port_write8(PIT_COMMAND, PIT_COUNT_DOWN_2);
	port_write8(PIT_CHANNEL2, PIT_LOAD);
	port_write8(PIT_CHANNEL2, PIT_LOAD);
	for (unsigned reads = 0; reads < READS_STOPPED; reads++) {
		if (read_pit() <= PIT_JUST_LOADED) {
			return true;
		}
	}
	return false;
}

/* Interrupts are the firmware's, and stay out meanwhile. */
static uint64_t measure_against_pit(void)
{
	static const struct reference pit = {PIT_HZ, UINT16_MAX, read_pit};
	uint64_t flags = x86_interrupts_save();
	uint8_t control = port_read8(PORT_CONTROL) & CONTROL_WRITABLE;
	port_write8(PORT_CONTROL, (uint8_t)((control & ~CONTROL_SPEAKER) | CONTROL_GATE2));
	uint64_t hz = start_pit() ? measure(&pit) : 0;
	port_write8(PORT_CONTROL, control);
	x86_interrupts_restore(flags);
	return hz;
}

static uint32_t read_pm_timer(void)
{
	return port_read32(pm_timer_port);
}

/* 0: no ACPI, or none in it. */
static uint64_t measure_against_acpi(hpa_t rsdp)
{
	struct acpi_tables tables;
	if (rsdp == 0 || !acpi_open(&tables, rsdp, NULL, NULL)) {
		return 0;
	}
	const struct acpi_header *fadt = acpi_find(&tables, "FACP", 0);
	if (fadt == NULL || fadt->length < FADT_FLAGS + sizeof(uint32_t)) {
		return 0;
	}
	uint32_t port, flags;
	memcpy(&port, (const uint8_t *)fadt + FADT_PM_TMR_BLK, sizeof(port));
	memcpy(&flags, (const uint8_t *)fadt + FADT_FLAGS, sizeof(flags));
	if (port == 0 || port > UINT16_MAX) {
		return 0;
	}
	pm_timer_port = (uint16_t)port;
	uint32_t mask = (uint32_t)(flags & FADT_FLAGS_VAL_EXT ? UINT32_MAX : BITS(23, 0));
	return measure(&(const struct reference){PM_TIMER_HZ, mask, read_pm_timer});
}

/* ---- choosing ---- */

/* What CPUID says, 0: nothing. Sets `source`. */
static uint64_t ask_cpuid(void)
{
	struct cpuid_result nominal = x86_cpuid_leaf(CPUID_FREQUENCY, 0);
	struct cpuid_result tsc = x86_cpuid_leaf(CPUID_TSC, 0);
	if (tsc.eax != 0 && tsc.ebx != 0 && tsc.ecx != 0) {
		source = "CPUID 0x15";
		return (uint64_t)tsc.ecx * tsc.ebx / tsc.eax;
	}
	if (x86_features.hypervisor && cpuid(CPUID_HYPERVISOR, 0).eax >= CPUID_HYPERVISOR_TIMING) {
		uint32_t khz = cpuid(CPUID_HYPERVISOR_TIMING, 0).eax;
		if (khz != 0) {
			source = "CPUID 0x40000010";
			return (uint64_t)khz * 1000;
		}
	}
	if (nominal.eax != 0) {
		source = "CPUID 0x16";
		return (uint64_t)nominal.eax * 1000000;
	}
	return 0;
}

void x86_time_init(void)
{
	uint64_t claimed = ask_cpuid();
	uint64_t measured = measure_against_pit();
	if (claimed != 0 && (measured == 0 || agree(claimed, measured))) {
		tsc_hz = claimed;
	} else if (measured != 0) {
		tsc_hz = measured;
		source = claimed != 0 ? "measured, CPUID claims otherwise" : "measured";
	} else {
		tsc_hz = GUESS_HZ;
		source = "a guess: CPUID is silent and no timer counts";
		guessed = true;
	}
}

void x86_time_refine(hpa_t rsdp)
{
	uint64_t measured = guessed ? measure_against_acpi(rsdp) : 0;
	if (measured != 0) {
		tsc_hz = measured;
		source = "measured by ACPI's timer";
		guessed = false;
	}
}
