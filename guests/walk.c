/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every permission set on every leaf size: sets the rights of its own memory, asks what addr_space_translate says
 * of it, makes the accesses, and compares. The hardware's walker and mm must agree on each. The command line's first
 * word is the name that its lines carry, or one of the odd cases at the end. It knows nothing of what its VM is
 * backed with: which leaves there are it finds out, and the test knows what there should be.
 */
#include "guest.h"

#define HUGE_PAGE_SIZE (1ul << 30)
#define SETS           8u /* of MAY_READ, MAY_WRITE, MAY_EXECUTE */
#define ALL            (MAY_READ | MAY_WRITE | MAY_EXECUTE)
#define WORD_AT        2048 /* in a page: what is read and written; code lies at its start */
#define COMPLAINTS_MAX 8    /* that are printed of a unit */
#define PLACES_MAX     2

/* enum mm_status, and where hv/hypercall.h has the fields of CALL_TRANSLATE and after CALL_EXPECT_FAULT. */
#define EPERM             5u
#define EACCES            7u
#define EFAULT            8u
#define TRANSLATION_LEAF  8
#define TRANSLATION_TYPES 0xf0u
#define FAULT_STATUS      4
#define FAULT_GPA         8

/* A page to try accesses on. */
struct place {
	uintptr_t at;
	uint64_t word; /* what it must hold */
	bool code;     /* a return instruction lies at its start */
};

/* A stretch of memory whose rights are changed as a whole. */
struct unit {
	uintptr_t start;
	uint64_t bytes;
	uint64_t leaf; /* of the leaves that it lies in: larger than the unit until its rights first differ */
	unsigned places, neighbours;
	struct place place[PLACES_MAX];     /* in it */
	struct place neighbour[PLACES_MAX]; /* right beside it: nothing may happen to those */
	unsigned sets;                      /* bit n: the format can express the set n */
	unsigned long accesses, refused, wrong;
};

static const unsigned access_kinds[] = {MAY_WRITE, MAY_READ, MAY_EXECUTE};
#define KINDS 3u

static uint64_t word; /* read, or to be written */

static const char *set_name(unsigned set)
{
	static const char *const names[SETS] = {"---", "r--", "-w-", "rw-", "--x", "r-x", "-wx", "rwx"};
	return names[set % SETS];
}

static const char *size_name(uint64_t bytes)
{
	return bytes == PAGE_SIZE ? "4K" : bytes == LARGE_PAGE_SIZE ? "2M" : bytes == HUGE_PAGE_SIZE ? "1G" : "?";
}

static bool complains(struct unit *unit)
{
	return ++unit->wrong <= COMPLAINTS_MAX;
}

/* ---- asking ---- */

static bool failed(uint64_t result)
{
	return (int64_t)result < 0;
}

static uint64_t translate(uintptr_t at)
{
	return hypercall(CALL_TRANSLATE, at, 0, 0);
}

/* 0: nothing there, or a guard. */
static uint64_t leaf_at(uintptr_t at)
{
	uint64_t says = translate(at);
	return failed(says) ? 0 : 1ul << (says >> TRANSLATION_LEAF);
}

static uint64_t protect(const struct unit *unit, unsigned set)
{
	return hypercall(CALL_PROTECT, unit->start, unit->bytes, set);
}

/* ---- accesses ---- */

static void read_word(void *at)
{
	word = *(volatile uint64_t *)((uintptr_t)at + WORD_AT);
}

static void write_word(void *at)
{
	*(volatile uint64_t *)((uintptr_t)at + WORD_AT) = word;
	write_return_instruction(at);
	synchronize_code();
}

/* Returns 0, or what the hypervisor says of the fault. */
static uint64_t attempt(unsigned access, uintptr_t at)
{
	void (*function)(void *) = access == MAY_READ    ? read_word
	                           : access == MAY_WRITE ? write_word
	                                                 : (void (*)(void *))at;
	hypercall(CALL_EXPECT_FAULT, (uintptr_t)fault_resume, 0, 0);
	uint64_t happened = guarded(function, (void *)at);
	hypercall(CALL_EXPECT_FAULT, 0, 0, 0);
	return happened;
}

/* What a refused access must be told as. */
static uint64_t refusal(unsigned access, uintptr_t at, unsigned status)
{
	uint64_t gpa = access == MAY_EXECUTE ? at : at + WORD_AT;
	return gpa << FAULT_GPA | (uint64_t)status << FAULT_STATUS | access;
}

/* One access, which `permissions` must decide. */
static void try_access(struct unit *unit, struct place *place, unsigned access, unsigned permissions, unsigned status)
{
	static uint64_t written;
	bool allowed = permissions & access;
	word = access == MAY_WRITE ? ++written : ~place->word;
	uint64_t wrote = word;
	uint64_t happened = attempt(access, place->at);
	uint64_t should = allowed ? 0 : refusal(access, place->at, status);
	unit->accesses++;
	unit->refused += !allowed;
	if (happened != should && complains(unit)) {
		print("walk: WRONG: %s of 0x%lx, which is %s: 0x%lx and not 0x%lx\n", set_name(access),
		      (unsigned long)place->at, set_name(permissions), (unsigned long)happened, (unsigned long)should);
	}
	if (happened == 0 && access == MAY_WRITE) {
		place->word = wrote;
		place->code = true;
	}
	if (happened == 0 && access == MAY_READ && word != place->word && complains(unit)) {
		print("walk: WRONG: 0x%lx holds 0x%lx and not 0x%lx\n", (unsigned long)place->at, (unsigned long)word,
		      (unsigned long)place->word);
	}
}

/* Asks what the place is, which must be `set`, and tries whether it is so. */
static void try_place(struct unit *unit, struct place *place, unsigned set)
{
	uint64_t says = translate(place->at);
	unsigned permissions = failed(says) ? 0 : says & ALL;
	if (permissions != set && complains(unit)) {
		print("walk: WRONG: 0x%lx is %s, says translate, and should be %s\n", (unsigned long)place->at,
		      set_name(permissions), set_name(set));
	}
	for (unsigned i = 0; i < KINDS; i++) {
		try_access(unit, place, access_kinds[i], permissions, EACCES);
	}
}

/* All of it is `set`, and nothing has happened to what lies beside it. */
static void try_unit(struct unit *unit, unsigned set)
{
	for (unsigned i = 0; i < unit->places; i++) {
		uintptr_t at = unit->place[i].at;
		try_place(unit, &unit->place[i], set);
		if (set && leaf_at(at) != unit->leaf && complains(unit)) {
			print("walk: WRONG: 0x%lx lies in a leaf of %s\n", (unsigned long)at, size_name(leaf_at(at)));
		}
	}
	for (unsigned i = 0; i < unit->neighbours; i++) {
		try_place(unit, &unit->neighbour[i], ALL);
	}
}

static void must(struct unit *unit, const char *what, uint64_t status)
{
	if (status != 0 && complains(unit)) {
		print("walk: WRONG: %s of 0x%lx: status -%lu\n", what, (unsigned long)unit->start,
		      (unsigned long)-status);
	}
}

/* ---- a unit ---- */

/*
 * From all rights, which the CPU knows well then, to each set and back. What the format cannot express is refused and
 * changes nothing.
 */
static void walk_filled(struct unit *unit)
{
	uint64_t type = translate(unit->start) & TRANSLATION_TYPES;
	for (unsigned set = 0; set < SETS; set++) {
		must(unit, "protect rwx", protect(unit, ALL));
		try_unit(unit, ALL);
		uint64_t status = protect(unit, set);
		if (status == -(uint64_t)EPERM) {
			try_unit(unit, ALL);
			continue;
		}
		must(unit, "protect", status);
		unit->sets |= 1u << set;
		unit->leaf = unit->bytes;
		try_unit(unit, set);
	}
	must(unit, "protect rwx", protect(unit, ALL));
	try_unit(unit, ALL);
	if ((translate(unit->start) & TRANSLATION_TYPES) != type && complains(unit)) {
		print("walk: WRONG: 0x%lx has another memory type than before\n", (unsigned long)unit->start);
	}
}

/* The rights are there before the memory: one access after the other, `first` first, is decided by the fault. */
static void fault_in(struct unit *unit, unsigned set, unsigned first)
{
	must(unit, "release", hypercall(CALL_RELEASE, unit->start, unit->bytes, 0));
	must(unit, "protect", protect(unit, set));
	for (unsigned i = 0; i < unit->places; i++) {
		unit->place[i].word = 0;
		unit->place[i].code = false;
	}
	if (leaf_at(unit->start) && complains(unit)) {
		print("walk: WRONG: 0x%lx is there, though given back\n", (unsigned long)unit->start);
	}
	for (unsigned kind = first; kind < first + KINDS; kind++) {
		unsigned access = access_kinds[kind % KINDS];
		for (unsigned i = 0; i < unit->places; i++) {
			/* Fresh memory is zeros: allowed to be executed, but no code. */
			if (access != MAY_EXECUTE || !(set & MAY_EXECUTE) || unit->place[i].code) {
				try_access(unit, &unit->place[i], access, set, EACCES);
			}
		}
	}
	bool filled = set & (MAY_READ | MAY_WRITE);
	if (leaf_at(unit->start) != (filled ? unit->bytes : 0) && complains(unit)) {
		print("walk: WRONG: 0x%lx was filled in as %s by a leaf of %s\n", (unsigned long)unit->start,
		      set_name(set), size_name(leaf_at(unit->start)));
	}
}

static void walk_fresh(struct unit *unit)
{
	for (unsigned set = 0; set < SETS; set++) {
		if (!(unit->sets & 1u << set)) {
			continue;
		}
		for (unsigned first = 0; first < KINDS; first++) {
			fault_in(unit, set, first);
		}
	}
	must(unit, "protect rwx", protect(unit, ALL));
}

static char name[32]; /* a copy: the command line may lie in memory that is walked */

static void keep_name(void)
{
	for (unsigned i = 0; i < sizeof(name) - 1 && guest.cmdline[i]; i++) {
		name[i] = guest.cmdline[i];
	}
}

static void report(struct unit *unit, uint64_t leaf, const char *how)
{
	print("walk: %s: %s%s%s%s: sets", name, size_name(unit->bytes), leaf == unit->bytes ? "" : " of ",
	      leaf == unit->bytes ? "" : size_name(leaf), how);
	for (unsigned set = 0; set < SETS; set++) {
		if (unit->sets & 1u << set) {
			print(" %s", set_name(set));
		}
	}
	print("; %lu accesses, %lu refused, %lu wrong\n", unit->accesses, unit->refused, unit->wrong);
	unit->accesses = unit->refused = unit->wrong = 0;
}

static void add_neighbour(struct unit *unit, uintptr_t at)
{
	if (at - guest.ram_start < guest.ram_bytes) {
		*(volatile uint8_t *)at = 0; /* lazy memory is there from now on */
		unit->neighbour[unit->neighbours++].at = at;
	}
}

static void walk(uintptr_t start, uint64_t bytes)
{
	struct unit unit = {.start = start, .bytes = bytes, .places = bytes > PAGE_SIZE ? 2 : 1};
	unit.place[0].at = start;
	unit.place[1].at = start + bytes - PAGE_SIZE;
	add_neighbour(&unit, start - PAGE_SIZE);
	add_neighbour(&unit, start + bytes);
	*(volatile uint8_t *)start = 0;
	uint64_t leaf = unit.leaf = leaf_at(start);
	walk_filled(&unit);
	report(&unit, leaf, "");
	/* Only lazy memory can be given back. */
	if (hypercall(CALL_RELEASE, unit.start, unit.bytes, 0) == 0) {
		walk_fresh(&unit);
		report(&unit, bytes, ", faulted in");
	}
}

/* Past the end of RAM: no area, no device. Twice, for the second time it is remembered. */
static void walk_nothing(void)
{
	struct unit unit = {.bytes = PAGE_SIZE};
	struct place place = {.at = guest.ram_start + guest.ram_bytes};
	if (translate(place.at) != -(uint64_t)EFAULT && complains(&unit)) {
		print("walk: WRONG: there is something past the end of memory\n");
	}
	for (unsigned i = 0; i < 2 * KINDS; i++) {
		try_access(&unit, &place, access_kinds[i % KINDS], 0, EFAULT);
	}
	report(&unit, PAGE_SIZE, " of nothing");
}

static void walk_all(void)
{
	uintptr_t base = free_memory() + LARGE_PAGE_SIZE;
	if ((uintptr_t)guest_start - guest.ram_start >= HUGE_PAGE_SIZE) { /* walk_high */
		base = guest.ram_start + LARGE_PAGE_SIZE;
		if (leaf_at(base) == HUGE_PAGE_SIZE) {
			walk(guest.ram_start, HUGE_PAGE_SIZE);
		}
	}
	*(volatile uint8_t *)base = 0;
	if (leaf_at(base) >= LARGE_PAGE_SIZE) {
		walk(base, LARGE_PAGE_SIZE);
	}
	walk(base + 2 * LARGE_PAGE_SIZE + 7 * PAGE_SIZE, PAGE_SIZE);
	walk_nothing();
}

/* ---- odd cases: each ends in a refused access that stops the VM ---- */

/* The second fault is no longer expected. */
static void fault_twice(void)
{
	uintptr_t nothing = guest.ram_start + guest.ram_bytes;
	hypercall(CALL_EXPECT_FAULT, (uintptr_t)fault_resume, 0, 0);
	uint64_t first = guarded(read_word, (void *)nothing);
	print("walk: refused once: %lx\n", (unsigned long)first);
	print("walk: NOT STOPPED: %lx\n", (unsigned long)guarded(read_word, (void *)nothing));
}

static void take_it_back(void)
{
	hypercall(CALL_EXPECT_FAULT, (uintptr_t)fault_resume, 0, 0);
	hypercall(CALL_EXPECT_FAULT, 0, 0, 0);
	print("walk: expects no fault\n");
	print("walk: NOT STOPPED: %lx\n",
	      (unsigned long)guarded(read_word, (void *)(guest.ram_start + guest.ram_bytes)));
}

/* To go on where there is nothing either. */
static void resume_nowhere(void)
{
	uintptr_t nothing = guest.ram_start + guest.ram_bytes;
	hypercall(CALL_EXPECT_FAULT, nothing, 0, 0);
	print("walk: goes on where nothing is\n");
	guarded(read_word, (void *)nothing);
}

/* No address at all on x86; an exception at EL1 on Arm. */
static void resume_outside(void)
{
	hypercall(CALL_EXPECT_FAULT, 1ul << 63, 0, 0);
	print("walk: goes on at 2^63\n");
	print("walk: survived: %lx\n", (unsigned long)guarded(read_word, (void *)(guest.ram_start + guest.ram_bytes)));
}

void guest_main(void)
{
	if (cmdline_is("twice")) {
		fault_twice();
	} else if (cmdline_is("taken-back")) {
		take_it_back();
	} else if (cmdline_is("nowhere")) {
		resume_nowhere();
	} else if (cmdline_is("outside")) {
		resume_outside();
	} else {
		keep_name();
		walk_all();
	}
}
