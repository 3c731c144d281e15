/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest accessor: see guest_memory.h. Called by devices, loaders and the decoder. Walks the nested table
 * without the lock, once per leaf; what is not there yet goes the way of a fault. Nothing that a guest chose is
 * trusted here.
 */
#include "mm/guest_memory.h"

#include "lib/string.h"
#include "mm/addr_space_private.h"

/* What the host can reach of guest memory from one address on, while the window is open. */
struct window {
	char *pointer;
	uint64_t bytes; /* 0: cannot be had */
	bool locked;    /* inside by the lock, not as a reader */
};

/* Keeps changes that free frames or tables away: see addr_space_begin_change. */
static bool enter(struct addr_space *space)
{
	__atomic_fetch_add(&space->readers, 1, __ATOMIC_SEQ_CST);
	if (likely(!__atomic_load_n(&space->changing, __ATOMIC_SEQ_CST))) {
		return false;
	}
	__atomic_fetch_sub(&space->readers, 1, __ATOMIC_RELEASE);
	spin_lock(&space->lock);
	return true;
}

static void close_window(struct addr_space *space, const struct window *window)
{
	if (unlikely(window->locked)) {
		spin_unlock(&space->lock);
	} else {
		__atomic_fetch_sub(&space->readers, 1, __ATOMIC_RELEASE);
	}
}

static bool may_access(const struct npt_attributes *attributes, unsigned access, bool force)
{
	return attributes->type <= MM_WRITE_COMBINING && (force || (access & ~(unsigned)attributes->permissions) == 0);
}

/* Every open_window needs its close_window, also when it found nothing. */
static struct window open_window(struct addr_space *space, gpa_t gpa, unsigned access, unsigned flags)
{
	bool force = (flags & GUEST_ACCESS_FORCE) != 0;
	struct window window = {NULL, 0, enter(space)};
	struct translation translation;
	int status = addr_space_look_up(space, gpa, &translation);

	if (unlikely(status != MM_OK)) {
		/* A reader that waited for the lock could wait for a change that waits for readers. */
		if (!window.locked) {
			close_window(space, &window);
			spin_lock(&space->lock);
			window.locked = true;
		}
		status = addr_space_fault_locked(space, gpa, access, force);
		if (status == MM_OK) {
			status = addr_space_look_up(space, gpa, &translation);
		}
	}
	if (status == MM_OK && may_access(&translation.attributes, access, force)) {
		if (unlikely(access == MM_WRITE && addr_space_is_watched(space, gpa))) {
			addr_space_log_accessor(space, gpa, &translation);
		}
		window.pointer = mm_pointer(space->npt.hal, translation.address);
		window.bytes = translation.bytes;
	}
	return window;
}

size_t guest_read(struct addr_space *space, gpa_t from, void *to, size_t bytes, unsigned flags)
{
	size_t done = 0;
	size_t part = 1;

	while (done < bytes && part != 0) {
		struct window window = open_window(space, from + done, MM_READ, flags);

		part = MIN(window.bytes, bytes - done);
		if (part != 0) {
			memcpy((char *)to + done, window.pointer, part);
			done += part;
		}
		close_window(space, &window);
	}
	return done;
}

size_t guest_write(struct addr_space *space, gpa_t to, const void *from, size_t bytes, unsigned flags)
{
	size_t done = 0;
	size_t part = 1;

	while (done < bytes && part != 0) {
		struct window window = open_window(space, to + done, MM_WRITE, flags);

		part = MIN(window.bytes, bytes - done);
		if (part != 0) {
			memcpy(window.pointer, (const char *)from + done, part);
			done += part;
		}
		close_window(space, &window);
	}
	return done;
}

size_t guest_fill(struct addr_space *space, gpa_t to, int value, size_t bytes, unsigned flags)
{
	size_t done = 0;
	size_t part = 1;

	while (done < bytes && part != 0) {
		struct window window = open_window(space, to + done, MM_WRITE, flags);

		part = MIN(window.bytes, bytes - done);
		if (part != 0) {
			memset(window.pointer, value, part);
			done += part;
		}
		close_window(space, &window);
	}
	return done;
}

/* A naturally aligned operand lies inside one page. */
static bool is_natural(gpa_t address, unsigned width)
{
	return (width == 1 || width == 2 || width == 4 || width == 8) && is_aligned(address, width);
}

static uint64_t load(const void *from, unsigned width)
{
	switch (width) {
	case 1:
		return __atomic_load_n((const uint8_t *)from, __ATOMIC_ACQUIRE);
	case 2:
		return __atomic_load_n((const uint16_t *)from, __ATOMIC_ACQUIRE);
	case 4:
		return __atomic_load_n((const uint32_t *)from, __ATOMIC_ACQUIRE);
	default:
		return __atomic_load_n((const uint64_t *)from, __ATOMIC_ACQUIRE);
	}
}

static void store(void *to, unsigned width, uint64_t value)
{
	switch (width) {
	case 1:
		__atomic_store_n((uint8_t *)to, (uint8_t)value, __ATOMIC_RELEASE);
		break;
	case 2:
		__atomic_store_n((uint16_t *)to, (uint16_t)value, __ATOMIC_RELEASE);
		break;
	case 4:
		__atomic_store_n((uint32_t *)to, (uint32_t)value, __ATOMIC_RELEASE);
		break;
	default:
		__atomic_store_n((uint64_t *)to, value, __ATOMIC_RELEASE);
		break;
	}
}

bool guest_load(struct addr_space *space, gpa_t from, unsigned width, uint64_t *value)
{
	if (!is_natural(from, width)) {
		return false;
	}
	struct window window = open_window(space, from, MM_READ, GUEST_ACCESS_DEFAULT);
	bool there = window.bytes != 0;

	if (there) {
		*value = load(window.pointer, width);
	}
	close_window(space, &window);
	return there;
}

bool guest_store(struct addr_space *space, gpa_t to, unsigned width, uint64_t value)
{
	if (!is_natural(to, width)) {
		return false;
	}
	struct window window = open_window(space, to, MM_WRITE, GUEST_ACCESS_DEFAULT);
	bool there = window.bytes != 0;

	if (there) {
		store(window.pointer, width, value);
	}
	close_window(space, &window);
	return there;
}

const void *guest_peek(struct addr_space *space, gpa_t address, size_t bytes)
{
	if (bytes > FRAME_SIZE - address % FRAME_SIZE) {
		return NULL;
	}
	struct window window = open_window(space, address, MM_READ, GUEST_ACCESS_DEFAULT);

	close_window(space, &window);
	return window.pointer;
}
