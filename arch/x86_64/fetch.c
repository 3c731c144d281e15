/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the guest's code the way the guest sees it: CS:RIP, its own page tables, its memory. Called on exits that
 * need the instruction's length or its meaning, and for reports. Everything read here is the guest's to choose: a
 * walk is at most five steps, and no pointer is made but by guest_peek. SDM vol. 3A chapter 4; APM vol. 2 chapter 5.
 */
#include "decode.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/vcpu.h"

#include "lib/string.h"

/* Page-table entries, SDM vol. 3A tables 4-4 to 4-20. */
#define ENTRY_PRESENT    BIT(0)
#define ENTRY_WRITE      BIT(1)
#define ENTRY_USER       BIT(2)
#define ENTRY_LARGE      BIT(7) /* PS */
#define ENTRY_ADDRESS    BITS(51, 12)
#define ENTRY_32_ADDRESS BITS(31, 12)
#define ENTRY_PSE_LOW    BITS(31, 22)
#define ENTRY_PSE_HIGH   BITS(20, 13) /* bits 39:32 of the address of a 4 MiB page */
#define ENTRY_PSE_SHIFT  19
#define CR3_PAE_ADDRESS  BITS(31, 5)
#define LEVELS_32        2
#define LEVELS_PAE       3
#define LEVELS_4         4
#define LEVELS_5         5
#define INDEX_BITS       9
#define INDEX_BITS_32    10
#define PDPTE_INDEX_BITS 2 /* PAE's topmost table */
#define LARGE_LEVEL      1 /* 2 or 4 MiB */
#define HUGE_LEVEL       2 /* 1 GiB, 4- and 5-level only */

#define OPCODE_MAX 3 /* bytes of those that x86_exit_length is asked for */

/* x86_segment.attributes. */
#define SEGMENT_LONG    BIT(9)
#define SEGMENT_DEFAULT BIT(10)

/* What of the vCPU decides how an address is translated. */
struct paging {
	uint64_t cr3;
	uint64_t mode; /* the bits of CR0, CR4 and EFER below; none of them share a place */
};

#define MODE_CR0  CR0_PG                         /* 31 */
#define MODE_CR4  (CR4_PSE | CR4_PAE | CR4_LA57) /* 4, 5, 12 */
#define MODE_EFER EFER_LMA                       /* 10 */
_Static_assert(((MODE_CR0 & MODE_CR4) | (MODE_CR4 & MODE_EFER) | (MODE_CR0 & MODE_EFER)) == 0, "mode bits collide");

/* The instruction pointer as an address, and how the code there is to be read. */
struct code_position {
	struct paging paging;
	uint64_t rip, linear;
	enum x86_code_mode mode;
};

/* The entries that a walk used, from the root on, and where it ended. */
struct walk {
	unsigned levels;
	gpa_t entry[LEVELS_5];
	uint64_t value[LEVELS_5];
	gpa_t gpa;
};

static inline struct paging make_paging(uint64_t cr0, uint64_t cr3, uint64_t cr4, uint64_t efer)
{
	return (struct paging){cr3, (cr0 & MODE_CR0) | (cr4 & MODE_CR4) | (efer & MODE_EFER)};
}

static __attribute__((noinline)) void read_code_state(struct arch_vcpu *vcpu, struct x86_code_state *state)
{
	const struct virt_ops *ops = vcpu->vm->ops;
	struct x86_segment cs;

	ops->get_segment(vcpu, X86_CS, &cs);
	*state = (struct x86_code_state){
		.rip = ops->get(vcpu, X86_RIP),
		.cs_base = cs.base,
		.cr0 = ops->get(vcpu, X86_CR0),
		.cr3 = ops->get(vcpu, X86_CR3),
		.cr4 = ops->get(vcpu, X86_CR4),
		.efer = ops->get(vcpu, X86_EFER),
		.cs_attributes = cs.attributes,
	};
}

static inline void read_position(struct arch_vcpu *vcpu, struct code_position *position)
{
	const struct virt_ops *ops = vcpu->vm->ops;
	struct x86_code_state state;

	if (likely(ops->get_code != NULL)) {
		ops->get_code(vcpu, &state);
	} else {
		read_code_state(vcpu, &state);
	}
	position->paging = make_paging(state.cr0, state.cr3, state.cr4, state.efer);
	position->rip = state.rip;
	if (likely((state.cs_attributes & SEGMENT_LONG) != 0 && (state.efer & EFER_LMA) != 0)) {
		position->linear = state.rip; /* CS has no base there */
		position->mode = X86_CODE_64;
	} else {
		position->linear = (uint32_t)(state.cs_base + state.rip);
		position->mode = (state.cs_attributes & SEGMENT_DEFAULT) != 0 ? X86_CODE_32 : X86_CODE_16;
	}
}

enum x86_code_mode x86_code_mode(struct arch_vcpu *vcpu)
{
	struct code_position position;

	read_position(vcpu, &position);
	return position.mode;
}

static unsigned paging_levels(const struct paging *paging)
{
	if ((paging->mode & CR0_PG) == 0) {
		return 0;
	}
	if ((paging->mode & EFER_LMA) != 0) {
		return (paging->mode & CR4_LA57) != 0 ? LEVELS_5 : LEVELS_4;
	}
	return (paging->mode & CR4_PAE) != 0 ? LEVELS_PAE : LEVELS_32;
}

/* Whether all bits above the topmost table's are the same (SDM vol. 1 3.3.7.1). */
static bool is_canonical(uint64_t linear, unsigned levels)
{
	unsigned unused = 64 - (FRAME_SHIFT + levels * INDEX_BITS);

	return (uint64_t)((int64_t)(linear << unused) >> unused) == linear;
}

static bool is_large(const struct paging *paging, unsigned levels, unsigned level, uint64_t entry)
{
	if ((entry & ENTRY_LARGE) == 0) {
		return false;
	}
	if (level == LARGE_LEVEL) {
		return levels != LEVELS_32 || (paging->mode & CR4_PSE) != 0;
	}
	return level == HUGE_LEVEL && levels >= LEVELS_4;
}

static gpa_t large_address(unsigned levels, uint64_t entry, uint64_t size)
{
	if (levels == LEVELS_32) {
		return (entry & ENTRY_PSE_LOW) | (entry & ENTRY_PSE_HIGH) << ENTRY_PSE_SHIFT;
	}
	return entry & ENTRY_ADDRESS & ~(size - 1);
}

/* GVA to GPA. False: not mapped. */
static bool walk_tables(struct addr_space *space, const struct paging *paging, uint64_t linear, struct walk *walk)
{
	unsigned levels = paging_levels(paging);
	unsigned width = levels == LEVELS_32 ? sizeof(uint32_t) : sizeof(uint64_t);
	unsigned bits = levels == LEVELS_32 ? INDEX_BITS_32 : INDEX_BITS;
	gpa_t table = paging->cr3 & (levels == LEVELS_32    ? ENTRY_32_ADDRESS
	                             : levels == LEVELS_PAE ? CR3_PAE_ADDRESS
	                                                    : ENTRY_ADDRESS);

	walk->levels = 0;
	walk->gpa = linear;
	if (levels >= LEVELS_4 && !is_canonical(linear, levels)) {
		return false;
	}
	for (unsigned level = levels; level-- > 0;) {
		unsigned shift = FRAME_SHIFT + level * bits;
		bool pdpt = levels == LEVELS_PAE && level == levels - 1;
		uint64_t index = (linear >> shift) & (BIT(pdpt ? PDPTE_INDEX_BITS : bits) - 1);
		gpa_t at = table + index * width;
		uint64_t entry;

		if (!guest_load(space, at, width, &entry) || (entry & ENTRY_PRESENT) == 0) {
			return false;
		}
		walk->entry[walk->levels] = at;
		walk->value[walk->levels++] = entry;
		uint64_t size = BIT(shift);
		table = entry & ENTRY_ADDRESS;
		if (is_large(paging, levels, level, entry)) {
			table = large_address(levels, entry, size);
			level = 0;
		} else {
			size = FRAME_SIZE;
		}
		walk->gpa = table | (linear & (size - 1));
	}
	return true;
}

/* SDM vol. 3A 4.6.1. A PAE pointer (the first entry there) has no rights. */
static bool may_access(struct arch_vcpu *vcpu, const struct paging *paging, const struct walk *walk, uint32_t access)
{
	const struct virt_ops *ops = vcpu->vm->ops;
	uint64_t rights = ENTRY_WRITE | ENTRY_USER;

	for (unsigned i = paging_levels(paging) == LEVELS_PAE; i < walk->levels; i++) {
		rights &= walk->value[i];
	}
	if ((access & PF_USER) != 0) {
		return (rights & ENTRY_USER) != 0 && ((access & PF_WRITE) == 0 || (rights & ENTRY_WRITE) != 0);
	}
	if ((rights & ENTRY_USER) != 0 && (ops->get(vcpu, X86_CR4) & CR4_SMAP) != 0 &&
	    (ops->get(vcpu, X86_RFLAGS) & RFLAGS_AC) == 0) {
		return false;
	}
	return (access & PF_WRITE) == 0 || (rights & ENTRY_WRITE) != 0 || (ops->get(vcpu, X86_CR0) & CR0_WP) == 0;
}

bool x86_guest_translate(struct arch_vcpu *vcpu, uint64_t linear, uint32_t access, uint64_t *gpa, uint32_t *error)
{
	const struct virt_ops *ops = vcpu->vm->ops;
	struct paging paging = make_paging(ops->get(vcpu, X86_CR0), ops->get(vcpu, X86_CR3), ops->get(vcpu, X86_CR4),
	                                   ops->get(vcpu, X86_EFER));
	unsigned levels = paging_levels(&paging);
	struct walk walk;

	if (!walk_tables(vcpu->vm->space, &paging, linear, &walk)) {
		*error = levels >= LEVELS_4 && !is_canonical(linear, levels) ? X86_NO_ERROR_CODE : access;
		return false;
	}
	*gpa = walk.gpa;
	*error = access | PF_PRESENT;
	return levels == 0 || may_access(vcpu, &paging, &walk, access);
}

/* ---- the cache of one page ---- */

static inline bool entries_unchanged(const struct code_page *code)
{
	if (unlikely(code->levels == LEVELS_32)) {
		const uint32_t *directory = code->entry[0], *table = code->entry[1];
		return __atomic_load_n(directory, __ATOMIC_RELAXED) == code->value[0] &&
		       __atomic_load_n(table, __ATOMIC_RELAXED) == code->value[1];
	}
	for (unsigned i = 0; i < code->levels; i++) {
		if (__atomic_load_n((const uint64_t *)code->entry[i], __ATOMIC_RELAXED) != code->value[i]) {
			return false;
		}
	}
	return true;
}

/*
 * Whether the cached page is what the position leads to now. The pointers hold as long as the generation does; that
 * the guest's own entries still say the same makes the answer right without an INVLPG to watch.
 */
static inline bool cache_holds(const struct arch_vcpu *vcpu, const struct code_position *position)
{
	const struct code_page *code = &vcpu->code;

	return code->view.limit != 0 && code->page == position->linear >> FRAME_SHIFT &&
	       code->view.generation == vcpu->vm->space->generation && code->cr3 == position->paging.cr3 &&
	       code->mode == position->paging.mode && entries_unchanged(code);
}

/* Makes the position's page the cached one. False: not mapped, or no pointer to be had to it or an entry on the way. */
static __attribute__((noinline)) bool cache_fill(struct arch_vcpu *vcpu, const struct code_position *position)
{
	struct code_page *code = &vcpu->code;
	struct addr_space *space = vcpu->vm->space;
	uint64_t generation = __atomic_load_n(&space->generation, __ATOMIC_ACQUIRE);
	struct walk walk;

	code->view.limit = 0;
	if (!walk_tables(space, &position->paging, position->linear, &walk)) {
		return false;
	}
	size_t width = paging_levels(&position->paging) == LEVELS_32 ? sizeof(uint32_t) : sizeof(uint64_t);
	for (unsigned i = 0; i < walk.levels; i++) {
		code->entry[i] = guest_peek(space, walk.entry[i], width);
		code->value[i] = walk.value[i];
		if (code->entry[i] == NULL) {
			return false;
		}
	}
	code->view.bytes = guest_peek(space, align_down(walk.gpa, FRAME_SIZE), FRAME_SIZE);
	if (code->view.bytes == NULL) {
		return false;
	}
	code->levels = walk.levels;
	if (paging_levels(&position->paging) == LEVELS_32 && walk.levels == 1) {
		/* A 4 MiB page: entries_unchanged compares two. */
		code->levels = LEVELS_32;
		code->entry[1] = code->entry[0];
		code->value[1] = code->value[0];
	}
	code->page = position->linear >> FRAME_SHIFT;
	code->view.generation = generation;
	code->cr3 = position->paging.cr3;
	code->mode = position->paging.mode;
	code->view.limit = FRAME_SIZE - (OPCODE_MAX - 1);
	return true;
}

/* Up to `count` bytes from `linear` on, page by page, without the cache. */
static size_t fetch_slowly(struct arch_vcpu *vcpu, const struct code_position *position, uint64_t linear,
                           uint8_t *bytes, size_t count)
{
	size_t done = 0;

	while (done < count) {
		uint64_t at = position->mode == X86_CODE_64 ? linear + done : (uint32_t)(linear + done);
		size_t wanted = MIN(count - done, FRAME_SIZE - (at & (FRAME_SIZE - 1)));
		struct walk walk;

		if (!walk_tables(vcpu->vm->space, &position->paging, at, &walk)) {
			break;
		}
		size_t got = guest_read(vcpu->vm->space, walk.gpa, bytes + done, wanted, GUEST_ACCESS_DEFAULT);
		done += got;
		if (got < wanted) {
			break;
		}
	}
	return done;
}

/* The cached page that holds the position, made so if it is not; NULL where that cannot be. */
static inline const uint8_t *code_at(struct arch_vcpu *vcpu, const struct code_position *position)
{
	uint64_t offset = position->linear & (FRAME_SIZE - 1);

	if (unlikely(!cache_holds(vcpu, position)) && !cache_fill(vcpu, position)) {
		return NULL;
	}
	vcpu->code.view.first_rip = position->rip - offset;
	return vcpu->code.view.bytes + offset;
}

static __attribute__((noinline)) size_t fetch_at(struct arch_vcpu *vcpu, const struct code_position *position,
                                                 uint8_t *bytes, size_t count)
{
	const uint8_t *code = code_at(vcpu, position);
	size_t first = MIN(count, FRAME_SIZE - (position->linear & (FRAME_SIZE - 1)));

	if (code == NULL) {
		return fetch_slowly(vcpu, position, position->linear, bytes, count);
	}
	memcpy(bytes, code, first);
	return first == count
	               ? count
	               : first + fetch_slowly(vcpu, position, position->linear + first, bytes + first, count - first);
}

size_t x86_fetch(struct arch_vcpu *vcpu, uint8_t *bytes, size_t count)
{
	struct code_position position;

	read_position(vcpu, &position);
	return fetch_at(vcpu, &position, bytes, count);
}

/* ---- decoding ---- */

/* The instruction near the end of its page, or where nothing can be cached. */
static __attribute__((noinline)) const struct x86_instruction *decode_slowly(struct arch_vcpu *vcpu,
                                                                             const struct code_position *position)
{
	uint8_t bytes[X86_INSTRUCTION_MAX];
	size_t count = fetch_at(vcpu, position, bytes, sizeof(bytes));

	return x86_decode(bytes, count, position->mode, &vcpu->code.odd) ? &vcpu->code.odd : NULL;
}

/*
 * An instruction that accesses a device register mostly does so again: it is remembered under the very bytes that
 * mean it, of which a copy is taken first, so that no other vCPU's store comes between comparing and decoding.
 */
const struct x86_instruction *x86_fetch_decode(struct arch_vcpu *vcpu)
{
	struct code_position position;
	uint64_t bytes[2];

	read_position(vcpu, &position);
	struct decoded_code *decoded = &vcpu->code.decoded[position.rip % DECODED_CODE_ENTRIES];
	const uint8_t *code = code_at(vcpu, &position);
	if (unlikely(code == NULL || (position.linear & (FRAME_SIZE - 1)) > FRAME_SIZE - sizeof(bytes))) {
		return decode_slowly(vcpu, &position);
	}
	__builtin_memcpy(bytes, code, sizeof(bytes));
	if (likely(decoded->bytes[0] == bytes[0] && decoded->bytes[1] == bytes[1] &&
	           decoded->mode == position.mode + 1U)) {
		return &decoded->instruction;
	}
	decoded->mode = 0;
	if (!x86_decode((const uint8_t *)bytes, X86_INSTRUCTION_MAX, position.mode, &decoded->instruction)) {
		return NULL;
	}
	decoded->bytes[0] = bytes[0];
	decoded->bytes[1] = bytes[1];
	decoded->mode = position.mode + 1U;
	return &decoded->instruction;
}

static __attribute__((noinline)) unsigned exit_length_slowly(struct arch_vcpu *vcpu, uint64_t rip,
                                                             const uint8_t *opcode, size_t opcode_bytes)
{
	struct code_position position;
	uint8_t bytes[X86_INSTRUCTION_MAX];

	read_position(vcpu, &position);
	size_t count = fetch_at(vcpu, &position, bytes, sizeof(bytes));
	vcpu->code.recent[CODE_VIEW(rip)] = vcpu->code.view;
	return x86_opcode_length(bytes, count, position.mode, opcode, opcode_bytes);
}

/* Whether the bare opcode stands at `rip`. */
static inline bool shows(const struct arch_vcpu *vcpu, const struct code_view *view, uint64_t rip,
                         const uint8_t *opcode, size_t opcode_bytes)
{
	uint64_t offset = rip - view->first_rip;
	uint16_t found, wanted;

	if (offset >= view->limit || view->generation != vcpu->vm->space->generation) {
		return false;
	}
	const uint8_t *at = view->bytes + offset;
	if (unlikely(opcode_bytes < sizeof(wanted))) {
		return at[0] == opcode[0];
	}
	__builtin_memcpy(&found, at, sizeof(found));
	__builtin_memcpy(&wanted, opcode, sizeof(wanted));
	return found == wanted &&
	       (opcode_bytes == sizeof(wanted) || (opcode_bytes == OPCODE_MAX && at[2] == opcode[2]));
}

/*
 * The CPU has told which instruction exited; only its prefixes are in doubt. So the bytes are the proof: where the
 * bare opcode stands at RIP on a cached page, nothing of the vCPU's paging state need be asked. A guest that
 * shows another page at the same address without leaving a trace here can at worst mislead itself.
 */
unsigned x86_exit_length(struct arch_vcpu *vcpu, uint64_t rip, const uint8_t *opcode, size_t opcode_bytes)
{
	if (likely(shows(vcpu, &vcpu->code.view, rip, opcode, opcode_bytes)) ||
	    shows(vcpu, &vcpu->code.recent[CODE_VIEW(rip)], rip, opcode, opcode_bytes)) {
		return (unsigned)opcode_bytes;
	}
	return exit_length_slowly(vcpu, rip, opcode, opcode_bytes);
}
