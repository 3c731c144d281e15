/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frequency of the time stamp counter. arch_check asks for it once, while the firmware still owns the
 * machine: what is touched is put back. What CPUID claims is believed only when the 8254 timer, where there is
 * one, does not contradict it: emulators show the claims of the CPU they model, whatever their TSC counts.
 */
#include "arch/x86_64/cpu.h"

#include "arch/arch.h"
#include "lib/io.h"

/* SDM vol. 2A CPUID: the TSC's ratio to the crystal; the nominal frequency in MHz. */
#define CPUID_TSC       0x15
#define CPUID_FREQUENCY 0x16
/* The timing leaf that VMware introduced and KVM took over: EAX is the TSC's frequency in kHz. */
#define CPUID_HYPERVISOR        0x40000000
#define CPUID_HYPERVISOR_TIMING 0x40000010

/* The 8254 (its data sheet) and port 0x61, "NMI status and control", of every PC chip set. */
#define PIT_HZ                 UINT64_C(1193182)
#define PIT_CHANNEL2           0x42
#define PIT_COMMAND            0x43
#define PIT_COUNT_DOWN_2       0xb0 /* channel 2, low byte then high byte, mode 0, binary */
#define PIT_LATCH_2            0x80
#define PIT_LOAD               0xff   /* both bytes */
#define PIT_LOADED_MIN         0xf000 /* lower counts shortly after that are the old ones */
#define PORT_CONTROL           0x61
#define CONTROL_GATE2          0x01
#define CONTROL_SPEAKER        0x02
#define CONTROL_WRITABLE       0x0f
#define MEASURE_TICKS          1193   /* one millisecond */
#define MEASURE_READS_MAX      200000 /* a bound; each takes three microseconds on real machines */
#define MEASURE_READS_STOPPED  1000   /* a timer that has not moved in so many is none */
#define MEASURES_MAX           4
#define SAMPLES                5
#define AGREE_SHIFT            6 /* two frequencies agree when they differ by less than 1/64 */
#define PLAUSIBLE_HZ_MIN       UINT64_C(1000000)
#define PLAUSIBLE_HZ_MAX       UINT64_C(100000000000)
#define GUESS_HZ               UINT64_C(2000000000)

static uint64_t tsc_hz;
static const char *source;

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

/* One reading of the 8254: its count, and the TSC just before it was latched. */
struct sample {
	uint64_t tsc;
	uint64_t uncertainty; /* TSC ticks that latching took */
	uint16_t count;
};

static struct sample read_sample(void)
{
	struct sample sample = {.tsc = rdtsc()};
	port_write8(PIT_COMMAND, PIT_LATCH_2);
	sample.uncertainty = rdtsc() - sample.tsc;
	uint8_t low = port_read8(PIT_CHANNEL2);
	sample.count = (uint16_t)(low | (port_read8(PIT_CHANNEL2) << 8));
	return sample;
}

/* An SMI, or the host of an emulator busy elsewhere, can come in between: the quickest of a few is the true one. */
static struct sample best_sample(void)
{
	struct sample best = read_sample();
	for (unsigned i = 1; i < SAMPLES; i++) {
		struct sample sample = read_sample();
		if (sample.uncertainty < best.uncertainty) {
			best = sample;
		}
	}
	return best;
}

/* Starts channel 2 and sees it through the clock cycle at which it takes the new count. False: it does not. */
static bool start_pit(void)
{
	port_write8(PIT_COMMAND, PIT_COUNT_DOWN_2);
	port_write8(PIT_CHANNEL2, PIT_LOAD);
	port_write8(PIT_CHANNEL2, PIT_LOAD);
	for (unsigned reads = 0; reads < MEASURE_READS_STOPPED; reads++) {
		if (read_sample().count >= PIT_LOADED_MIN) {
			return true;
		}
	}
	return false;
}

/* TSC ticks a second as seen for about a millisecond, 0: the 8254 does not count. */
static uint64_t measure_once(void)
{
	struct sample start = best_sample();
	uint16_t gone = 0;
	for (unsigned reads = 0; reads < MEASURE_READS_MAX && gone < MEASURE_TICKS; reads++) {
		gone = (uint16_t)(start.count - read_sample().count);
		if (gone == 0 && reads >= MEASURE_READS_STOPPED) {
			return 0;
		}
	}
	struct sample end = best_sample();
	gone = (uint16_t)(start.count - end.count);
	if (gone < MEASURE_TICKS) {
		return 0;
	}
	uint64_t hz = (end.tsc - start.tsc) * PIT_HZ / gone;
	return hz >= PLAUSIBLE_HZ_MIN && hz <= PLAUSIBLE_HZ_MAX ? hz : 0;
}

/* Until two measures in a row agree. Interrupts are the firmware's, and stay out meanwhile. */
static uint64_t measure(void)
{
	uint64_t flags = x86_interrupts_save();
	uint8_t control = port_read8(PORT_CONTROL) & CONTROL_WRITABLE;
	port_write8(PORT_CONTROL, (uint8_t)((control & ~CONTROL_SPEAKER) | CONTROL_GATE2));
	uint64_t hz = start_pit() ? measure_once() : 0;
	for (unsigned i = 1; hz != 0 && i < MEASURES_MAX; i++) {
		uint64_t before = hz;
		hz = measure_once();
		if (agree(hz, before)) {
			break;
		}
	}
	port_write8(PORT_CONTROL, control);
	x86_interrupts_restore(flags);
	return hz;
}

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
	uint64_t measured = measure();
	if (claimed != 0 && (measured == 0 || agree(claimed, measured))) {
		tsc_hz = claimed;
	} else if (measured != 0) {
		tsc_hz = measured;
		source = claimed != 0 ? "measured, CPUID claims otherwise" : "measured";
	} else {
		tsc_hz = GUESS_HZ;
		source = "a guess: CPUID is silent and no 8254 counts";
	}
}
