/* SPDX-License-Identifier: Apache-2.0 */
// sources: arch/aarch64/vgic.c arch/aarch64/vgic_mmio.c
/*
 * The virtual GIC against a false CPU: four list registers that this file acknowledges and ends interrupts in as a
 * guest's CPU would, and registers reached by address as a guest reaches them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/aarch64/vgic.h"
#include "lib/util.h"

#define LIST_REGISTERS 4
#define GICD           VGIC_DISTRIBUTOR_BASE
#define GICR           VGIC_REDISTRIBUTOR_BASE
#define SGI_FRAME      0x10000
#define CTLR           0x000
#define TYPER          0x004
#define IGROUPR        0x080
#define ISENABLER      0x100
#define ICENABLER      0x180
#define ISPENDR        0x200
#define ICPENDR        0x280
#define ISACTIVER      0x300
#define ICACTIVER      0x380
#define IPRIORITYR     0x400
#define ITARGETSR      0x800
#define ICFGR          0xc00
#define SGIR           0xf00
#define CPENDSGIR      0xf10
#define SPENDSGIR      0xf20
#define IROUTER        0x6000
#define PIDR2          0xffe8
#define VMCR_OPEN      0xff000003u /* both groups on, every priority passes */
#define UART           33

/* ---- the false CPU ---- */

static struct vgic_list_register lr[LIST_REGISTERS];
static bool lr_used[LIST_REGISTERS];
static uint32_t vmcr = VMCR_OPEN;
static bool timer_asserted, timer_active, underflow_asked, interface_on;

unsigned gic_list_registers(void)
{
	return LIST_REGISTERS;
}

void gic_list_register_read(unsigned index, struct vgic_list_register *to)
{
	assert_true(index < LIST_REGISTERS);
	*to = lr[index];
}

void gic_list_register_write(unsigned index, const struct vgic_list_register *from)
{
	assert_true(index < LIST_REGISTERS);
	lr_used[index] = from != NULL;
	lr[index] = from ? *from : (struct vgic_list_register){0};
	/* The architecture leaves a hardware interrupt that is pending and active to the distributor. */
	assert_false(lr[index].hardware && lr[index].pending && lr[index].active);
}

void gic_virtual_enable(bool underflow)
{
	interface_on = true;
	underflow_asked = underflow;
}

void gic_virtual_disable(void)
{
	interface_on = false;
}

void gic_virtual_load(const struct vgic_cpu *vgic)
{
	vmcr = vgic->vmcr;
}

void gic_virtual_save(struct vgic_cpu *vgic)
{
	vgic->vmcr = vmcr;
}

uint32_t gic_virtual_vmcr(void)
{
	return vmcr;
}

void gic_hold_virtual_timer(bool hold)
{
	timer_active = hold;
}

bool arm_virtual_timer_asserted(void)
{
	return timer_asserted;
}

/* The guest's acknowledge: the pending one of the most urgent priority, or -1. */
static int acknowledge(void)
{
	int best = -1;
	for (int i = 0; i < LIST_REGISTERS; i++) {
		if (lr[i].pending && !lr[i].active && (best < 0 || lr[i].priority < lr[best].priority)) {
			best = i;
		}
	}
	if (best < 0) {
		return -1;
	}
	lr[best].pending = false;
	lr[best].active = true;
	return lr[best].intid;
}

/* The guest's end of interrupt. True: the hypervisor asked to hear of it. */
static bool end(unsigned intid)
{
	for (unsigned i = 0; i < LIST_REGISTERS; i++) {
		if (lr[i].active && lr[i].intid == intid) {
			lr[i].active = false;
			if (lr[i].hardware) {
				timer_active = false;
			}
			return lr[i].eoi && !lr[i].pending;
		}
	}
	fail();
	return false;
}

static unsigned registers_in_use(void)
{
	unsigned count = 0;
	for (unsigned i = 0; i < LIST_REGISTERS; i++) {
		count += lr_used[i];
	}
	return count;
}

/* ---- the guest's machine ---- */

static struct arch_vm vm;
static struct arch_vcpu vcpu[2];

static void machine(unsigned version, unsigned vcpus)
{
	for (unsigned i = 0; i < LIST_REGISTERS; i++) {
		gic_list_register_write(i, NULL);
	}
	timer_asserted = timer_active = underflow_asked = false;
	vm = (struct arch_vm){.vcpus = vcpus};
	vgic_init(&vm, version);
	for (unsigned i = 0; i < vcpus; i++) {
		vcpu[i] = (struct arch_vcpu){.vm = &vm, .index = i};
		vm.vcpu[i] = &vcpu[i];
		vgic_reset(&vcpu[i]);
		vcpu[i].vgic.vmcr = VMCR_OPEN;
	}
	vcpu[0].loaded = true;
	vgic_load(&vcpu[0]);
}

static uint64_t read_of(struct arch_vcpu *who, gpa_t address, unsigned width)
{
	uint64_t value = 0x5555;
	assert_true(vgic_access(who, address, width, false, &value));
	return value;
}

static uint32_t get(gpa_t address)
{
	return (uint32_t)read_of(&vcpu[0], address, 4);
}

static void put(gpa_t address, uint32_t value)
{
	uint64_t written = value;
	assert_true(vgic_access(&vcpu[0], address, 4, true, &written));
}

static void put_byte(gpa_t address, uint8_t value)
{
	uint64_t written = value;
	assert_true(vgic_access(&vcpu[0], address, 1, true, &written));
}

/* Version 3 with everything in group 1, as Linux sets it up. */
static void linux_machine(unsigned vcpus)
{
	machine(3, vcpus);
	put(GICD + CTLR, 0x13);
	put(GICD + IGROUPR + 4, UINT32_MAX);
	for (unsigned i = 0; i < vcpus; i++) {
		put(GICR + i * VGIC_REDISTRIBUTOR_BYTES + SGI_FRAME + IGROUPR, UINT32_MAX);
	}
}

static void enable_uart(void)
{
	put(GICD + ISENABLER + 4, 1U << (UART - 32));
}

/* ---- tests ---- */

static void a_level_comes_again_until_its_line_falls(void **state)
{
	(void)state;
	linux_machine(1);
	enable_uart();
	vgic_set_line(&vm, UART, true);
	vgic_update(&vcpu[0]);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(acknowledge(), UART);
		vgic_update(&vcpu[0]);
		assert_int_equal(acknowledge(), -1); /* active: not again before its end */
		assert_true(end(UART));
		vgic_update(&vcpu[0]);
	}
	vgic_set_line(&vm, UART, false);
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), -1);
	assert_int_equal(registers_in_use(), 0);
}

static void a_line_that_falls_before_it_is_taken_is_withdrawn(void **state)
{
	(void)state;
	linux_machine(1);
	enable_uart();
	vgic_set_line(&vm, UART, true);
	vgic_update(&vcpu[0]);
	assert_int_equal(registers_in_use(), 1);
	vgic_set_line(&vm, UART, false);
	vgic_update(&vcpu[0]);
	assert_int_equal(registers_in_use(), 0);
}

static void an_edge_comes_once_for_each_rise(void **state)
{
	(void)state;
	linux_machine(1);
	enable_uart();
	put(GICD + ICFGR + 8, 2U << (2 * (UART - 32)));
	assert_int_equal(get(GICD + ICFGR + 8), 2U << (2 * (UART - 32)));
	vgic_set_line(&vm, UART, true);
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), UART);
	vgic_set_line(&vm, UART, false);
	vgic_set_line(&vm, UART, true); /* a second one while the first is active */
	vgic_update(&vcpu[0]);
	end(UART);
	assert_int_equal(acknowledge(), UART);
	end(UART);
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), -1);
}

static void what_is_disabled_or_of_a_group_that_is_off_does_not_come(void **state)
{
	(void)state;
	linux_machine(1);
	vgic_set_line(&vm, UART, true);
	vgic_update(&vcpu[0]);
	assert_int_equal(registers_in_use(), 0);
	assert_int_equal(get(GICD + ISPENDR + 4), 1U << (UART - 32));
	enable_uart();
	put(GICD + CTLR, 0x11); /* group 1 off */
	vgic_update(&vcpu[0]);
	assert_int_equal(registers_in_use(), 0);
	put(GICD + CTLR, 0x12);
	vgic_update(&vcpu[0]);
	assert_int_equal(registers_in_use(), 1);
	assert_true(lr[0].group1);
	put(GICD + ICENABLER + 4, UINT32_MAX);
	vgic_update(&vcpu[0]);
	assert_int_equal(registers_in_use(), 0);
}

static void the_most_urgent_of_too_many_come_first(void **state)
{
	(void)state;
	linux_machine(1);
	put(GICD + ISENABLER + 4, UINT32_MAX);
	for (unsigned i = 0; i < 8; i++) {
		put_byte(GICD + IPRIORITYR + 40 + i, (uint8_t)(0xf0 - 0x10 * i));
		vgic_set_line(&vm, 40 + i, true);
	}
	vgic_update(&vcpu[0]);
	assert_int_equal(registers_in_use(), LIST_REGISTERS);
	assert_true(underflow_asked);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(acknowledge(), 47 - i);
		vgic_set_line(&vm, 47 - i, false);
		end(47 - i);
		vgic_update(&vcpu[0]);
	}
	assert_false(underflow_asked);
	assert_int_equal(acknowledge(), -1);
}

static void an_active_interrupt_keeps_its_list_register(void **state)
{
	(void)state;
	linux_machine(1);
	put(GICD + ISENABLER + 4, UINT32_MAX);
	put_byte(GICD + IPRIORITYR + UART, 0xf0);
	vgic_set_line(&vm, UART, true);
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), UART);
	for (unsigned i = 0; i < 8; i++) {
		vgic_set_line(&vm, 40 + i, true);
	}
	vgic_update(&vcpu[0]);
	assert_true(end(UART));
}

static void priorities_keep_five_bits(void **state)
{
	(void)state;
	linux_machine(1);
	put(GICD + IPRIORITYR + 36, 0xffa57f01);
	assert_int_equal(get(GICD + IPRIORITYR + 36), 0xf8a07800);
	assert_int_equal(read_of(&vcpu[0], GICD + IPRIORITYR + 38, 1), 0xa0);
	assert_int_equal(read_of(&vcpu[0], GICD + IPRIORITYR + 38, 2), 0xf8a0);
}

static void the_distributor_of_version_3_hides_private_interrupts(void **state)
{
	(void)state;
	linux_machine(1);
	put(GICD + ISENABLER, UINT32_MAX);
	put(GICD + IPRIORITYR, UINT32_MAX);
	assert_int_equal(get(GICD + ISENABLER), 0);
	assert_int_equal(get(GICR + SGI_FRAME + ISENABLER), 0);
	put(GICR + SGI_FRAME + ISENABLER, 0x08000000);
	assert_int_equal(get(GICR + SGI_FRAME + ISENABLER), 0x08000000);
	assert_int_equal(get(GICR + SGI_FRAME + ISENABLER + 4), 0); /* a redistributor has no SPIs */
	assert_int_equal(get(GICR + SGI_FRAME + ICFGR), 0xaaaaaaaa);
	assert_int_equal(get(GICR + SGI_FRAME + ICFGR + 4), 0);
	assert_int_equal(get(GICD + PIDR2) >> 4, 3);
	assert_int_equal(get(GICR + PIDR2) >> 4, 3);
	assert_int_equal(get(GICD + TYPER) & 0x1f, VGIC_SPI_BANKS);
	assert_int_equal(get(GICD + CTLR) & 0x50, 0x50); /* ARE, DS */
}

static void redistributors_tell_who_they_belong_to(void **state)
{
	(void)state;
	linux_machine(2);
	assert_int_equal(read_of(&vcpu[0], GICR + 8, 8), 0);
	assert_true(read_of(&vcpu[0], GICR + VGIC_REDISTRIBUTOR_BYTES + 8, 8) == 0x100000110);
	assert_int_equal(get(GICR + VGIC_REDISTRIBUTOR_BYTES + 12), 1);
	assert_int_equal(get(GICR + 0x14), 6); /* WAKER: asleep after reset */
	put(GICR + 0x14, 0);
	assert_int_equal(get(GICR + 0x14), 0);
}

static void routing_chooses_the_vcpu(void **state)
{
	(void)state;
	uint64_t one = 1;
	linux_machine(2);
	enable_uart();
	assert_true(vgic_access(&vcpu[0], GICD + IROUTER + 8 * UART, 8, true, &one));
	assert_int_equal(read_of(&vcpu[0], GICD + IROUTER + 8 * UART, 8), 1);
	vgic_set_line(&vm, UART, true);
	vgic_update(&vcpu[0]);
	assert_int_equal(registers_in_use(), 0);
	vgic_put(&vcpu[0]);
	vgic_load(&vcpu[1]);
	vgic_update(&vcpu[1]);
	assert_int_equal(acknowledge(), UART);
}

static void the_virtual_timers_interrupt_ends_with_the_guests(void **state)
{
	(void)state;
	linux_machine(1);
	put(GICR + SGI_FRAME + ISENABLER, 1U << VGIC_VIRTUAL_TIMER);
	for (int i = 0; i < 3; i++) {
		timer_asserted = timer_active = true; /* fired, acknowledged by the hypervisor */
		vgic_virtual_timer_fired(&vcpu[0]);
		vgic_update(&vcpu[0]);
		assert_int_equal(acknowledge(), VGIC_VIRTUAL_TIMER);
		timer_asserted = false; /* the guest sets it anew */
		end(VGIC_VIRTUAL_TIMER);
		assert_false(timer_active);
		/* The next one may come before anybody looked at the list register. */
	}
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), -1);
	assert_false(vcpu[0].vgic.timer_held);
}

static void a_timer_that_nobody_wants_any_more_is_let_go(void **state)
{
	(void)state;
	linux_machine(1);
	timer_asserted = timer_active = true;
	vgic_virtual_timer_fired(&vcpu[0]); /* not enabled in the redistributor */
	vgic_update(&vcpu[0]);
	assert_int_equal(registers_in_use(), 0);
	assert_true(timer_active);
	timer_asserted = false;
	vcpu[0].work = true;
	vgic_update(&vcpu[0]);
	assert_false(timer_active);
	put(GICR + SGI_FRAME + ISENABLER, 1U << VGIC_VIRTUAL_TIMER);
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), -1);
}

static void an_active_timer_stays_active_through_put_and_load(void **state)
{
	(void)state;
	linux_machine(1);
	put(GICR + SGI_FRAME + ISENABLER, 1U << VGIC_VIRTUAL_TIMER);
	timer_asserted = timer_active = true;
	vgic_virtual_timer_fired(&vcpu[0]);
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), VGIC_VIRTUAL_TIMER);
	vgic_put(&vcpu[0]);
	assert_false(timer_active);
	assert_false(interface_on);
	assert_int_equal(registers_in_use(), 0);
	vgic_load(&vcpu[0]);
	assert_true(timer_active);
	vgic_update(&vcpu[0]);
	end(VGIC_VIRTUAL_TIMER);
	assert_false(timer_active);
	/* One that was pending is let go, and found again by the timer's own word. */
	timer_active = true;
	vgic_virtual_timer_fired(&vcpu[0]);
	vgic_update(&vcpu[0]);
	vgic_put(&vcpu[0]);
	vgic_load(&vcpu[0]);
	assert_false(timer_active);
	vgic_update(&vcpu[0]);
	assert_true(timer_active);
	assert_int_equal(acknowledge(), VGIC_VIRTUAL_TIMER);
}

/* As when it becomes due between the exit of a WFI and the look at what is pending. */
static void a_timer_that_is_due_is_not_waited_for(void **state)
{
	(void)state;
	linux_machine(1);
	put(GICR + SGI_FRAME + ISENABLER, 1U << VGIC_VIRTUAL_TIMER);
	timer_asserted = true;
	vcpu[0].loaded = false;
	vcpu[0].vgic.vmcr = VMCR_OPEN;
	assert_false(vgic_pending(&vcpu[0])); /* the CPU's timer may be another's */
	vcpu[0].loaded = true;
	vcpu[0].work = false;
	assert_true(vgic_pending(&vcpu[0]));
	assert_true(vcpu[0].work);
	assert_true(timer_active);
	vgic_virtual_timer_fired(&vcpu[0]); /* the interrupt was on its way: once is enough */
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), VGIC_VIRTUAL_TIMER);
	timer_asserted = false;
	end(VGIC_VIRTUAL_TIMER);
	assert_false(timer_active);
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), -1);
	assert_false(vgic_pending(&vcpu[0]));
}

static void sgis_reach_the_vcpus_that_are_named(void **state)
{
	(void)state;
	linux_machine(2);
	put(GICR + SGI_FRAME + ISENABLER, 0xffff);
	put(GICR + VGIC_REDISTRIBUTOR_BYTES + SGI_FRAME + ISENABLER, 0xffff);
	vgic_send_sgi_register(&vcpu[0], UINT64_C(5) << 24 | 3, true); /* INTID 5 to both */
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), 5);
	end(5);
	vgic_send_sgi_register(&vcpu[0], UINT64_C(1) << 40 | UINT64_C(6) << 24, true);     /* 6 to all others */
	vgic_send_sgi_register(&vcpu[0], UINT64_C(1) << 16 | UINT64_C(7) << 24 | 1, true); /* another cluster: nobody */
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), -1);
	vgic_put(&vcpu[0]);
	vgic_load(&vcpu[1]);
	vgic_update(&vcpu[1]);
	assert_int_equal(acknowledge(), 5);
	assert_int_equal(acknowledge(), 6);
	assert_int_equal(acknowledge(), -1);
}

static void group_1_sgis_are_not_sent_by_the_registers_of_group_0(void **state)
{
	(void)state;
	linux_machine(1);
	put(GICR + SGI_FRAME + ISENABLER, 0xffff);
	vgic_send_sgi_register(&vcpu[0], UINT64_C(5) << 24 | 1, false);
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), -1);
	put(GICR + SGI_FRAME + IGROUPR, 0xffff & ~(1U << 5));
	put(GICD + CTLR, 3);
	vgic_send_sgi_register(&vcpu[0], UINT64_C(5) << 24 | 1, false);
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), 5);
}

static void version_2_sgis_come_once_for_each_source(void **state)
{
	(void)state;
	machine(2, 2);
	put(GICD + CTLR, 1);
	put(GICD + ISENABLER, 0xffff);
	vgic_send_sgi(&vcpu[0], 1, 3, true);
	vgic_send_sgi(&vcpu[1], 1, 3, true);
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), 3);
	assert_int_equal(lr[0].source, 0);
	end(3);
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), 3);
	assert_int_equal(lr[0].source, 1);
	end(3);
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), -1);
}

static void version_2_sgi_registers_work(void **state)
{
	(void)state;
	machine(2, 2);
	put(GICD + CTLR, 1);
	put(GICD + ISENABLER, 0xffff);
	put(GICD + SGIR, 2U << 24 | 4); /* to myself */
	assert_int_equal(get(GICD + SPENDSGIR + 4), 1);
	put(GICD + CPENDSGIR + 4, 1);
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), -1);
	put(GICD + SPENDSGIR + 8, 2U << 8); /* SGI 9 from CPU 1 */
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), 9);
	assert_int_equal(lr[0].source, 1);
	put(GICD + SGIR, 1U << 24 | 4); /* to the others */
	assert_int_equal(read_of(&vcpu[1], GICD + SPENDSGIR + 4, 4), 1);
}

static void version_2_targets_tell_who_asks(void **state)
{
	(void)state;
	machine(2, 2);
	assert_int_equal(get(GICD + ITARGETSR), 0x01010101);
	assert_int_equal(read_of(&vcpu[1], GICD + ITARGETSR, 4), 0x02020202);
	put(GICD + ITARGETSR + 32, 0xff020001);
	assert_int_equal(get(GICD + ITARGETSR + 32), 0x03020001); /* two CPUs there are */
	assert_int_equal(get(GICD + 0xfe8) >> 4, 2);
	assert_int_equal(get(GICD + TYPER), 0x20 | VGIC_SPI_BANKS);
}

static void pending_asks_what_the_cpu_interface_would_signal(void **state)
{
	(void)state;
	linux_machine(1);
	enable_uart();
	put_byte(GICD + IPRIORITYR + UART, 0xa0);
	assert_false(vgic_pending(&vcpu[0]));
	vgic_set_line(&vm, UART, true);
	assert_true(vgic_pending(&vcpu[0]));
	vmcr = 0xa0000003;
	assert_false(vgic_pending(&vcpu[0])); /* masked by priority */
	vmcr = 0xff000001;
	assert_false(vgic_pending(&vcpu[0])); /* group 1 off in the interface */
	vmcr = VMCR_OPEN;
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), UART);
	assert_false(vgic_pending(&vcpu[0])); /* active is not pending */
}

static void software_sets_and_clears_pending_and_active(void **state)
{
	(void)state;
	linux_machine(1);
	enable_uart();
	put(GICD + ISPENDR + 4, 1U << (UART - 32));
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), UART);
	end(UART);
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), -1); /* a level's pending bit went with the acknowledge */
	put(GICD + ISPENDR + 4, 1U << (UART - 32));
	put(GICD + ICPENDR + 4, 1U << (UART - 32));
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), -1);
	vgic_set_line(&vm, UART, true);
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), UART);
	assert_int_equal(get(GICD + ISACTIVER + 4), 1U << (UART - 32));
	put(GICD + ICACTIVER + 4, 1U << (UART - 32));
	vgic_update(&vcpu[0]);
	assert_int_equal(acknowledge(), UART);
}

/* Every offset, width and direction, with values that mean mischief: nothing but the answer may come of it. */
static void no_access_does_harm(void **state)
{
	(void)state;
	static const uint64_t values[] = {0, UINT64_MAX, UINT64_C(0x8000000080000000), 1};
	for (unsigned version = 2; version <= 3; version++) {
		machine(version, 2);
		for (gpa_t address = GICD; address < GICD + VGIC_WINDOW_BYTES;
		     address += address % 0x1000 < 0xfff ? 1 : 0xf001) {
			for (unsigned width = 1; width <= 8; width *= 2) {
				for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
					uint64_t value = values[i];
					vgic_access(&vcpu[0], address, width, true, &value);
					vgic_access(&vcpu[0], address, width, false, &value);
				}
				vgic_update(&vcpu[0]);
			}
		}
		vgic_set_line(&vm, 0, true);
		vgic_set_line(&vm, UINT32_MAX, true);
		vgic_set_line(&vm, 128, true);
		vgic_send_sgi(&vcpu[0], UINT32_MAX, 16, true);
		vgic_send_sgi_register(&vcpu[0], UINT64_MAX, true);
		vgic_update(&vcpu[0]);
	}
}

static void what_is_not_the_controllers_is_not_answered(void **state)
{
	(void)state;
	uint64_t value;
	machine(3, 1);
	assert_false(vgic_access(&vcpu[0], GICD - 4, 4, false, &value));
	assert_false(vgic_access(&vcpu[0], GICD + VGIC_DISTRIBUTOR_BYTES, 4, false, &value));
	assert_false(vgic_access(&vcpu[0], GICR + VGIC_REDISTRIBUTOR_BYTES, 4, false, &value)); /* one vCPU */
	assert_false(vgic_access(&vcpu[0], GICD + 2, 4, false, &value));
	machine(2, 1);
	assert_false(vgic_access(&vcpu[0], GICR, 4, false, &value));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_level_comes_again_until_its_line_falls),
		cmocka_unit_test(a_line_that_falls_before_it_is_taken_is_withdrawn),
		cmocka_unit_test(an_edge_comes_once_for_each_rise),
		cmocka_unit_test(what_is_disabled_or_of_a_group_that_is_off_does_not_come),
		cmocka_unit_test(the_most_urgent_of_too_many_come_first),
		cmocka_unit_test(an_active_interrupt_keeps_its_list_register),
		cmocka_unit_test(priorities_keep_five_bits),
		cmocka_unit_test(the_distributor_of_version_3_hides_private_interrupts),
		cmocka_unit_test(redistributors_tell_who_they_belong_to),
		cmocka_unit_test(routing_chooses_the_vcpu),
		cmocka_unit_test(the_virtual_timers_interrupt_ends_with_the_guests),
		cmocka_unit_test(a_timer_that_nobody_wants_any_more_is_let_go),
		cmocka_unit_test(a_timer_that_is_due_is_not_waited_for),
		cmocka_unit_test(an_active_timer_stays_active_through_put_and_load),
		cmocka_unit_test(sgis_reach_the_vcpus_that_are_named),
		cmocka_unit_test(group_1_sgis_are_not_sent_by_the_registers_of_group_0),
		cmocka_unit_test(version_2_sgis_come_once_for_each_source),
		cmocka_unit_test(version_2_sgi_registers_work),
		cmocka_unit_test(version_2_targets_tell_who_asks),
		cmocka_unit_test(pending_asks_what_the_cpu_interface_would_signal),
		cmocka_unit_test(software_sets_and_clears_pending_and_active),
		cmocka_unit_test(no_access_does_harm),
		cmocka_unit_test(what_is_not_the_controllers_is_not_answered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
