/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A test-and-test-and-set lock for short critical sections. Works between CPUs in the image and between
 * threads in host tests. Not recursive. The hypervisor never holds one while a guest runs.
 */
#pragma once

#include <stdbool.h>

#include "lib/util.h"

struct spinlock {
	bool held;
};

static inline void spin_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static inline bool spin_try_lock(struct spinlock *lock)
{
	return !__atomic_exchange_n(&lock->held, true, __ATOMIC_ACQUIRE);
}

static __attribute__((noinline, unused)) void spin_wait(struct spinlock *lock)
{
	do {
		while (__atomic_load_n(&lock->held, __ATOMIC_RELAXED)) {
			spin_pause();
		}
	} while (!spin_try_lock(lock));
}

static inline void spin_lock(struct spinlock *lock)
{
	if (unlikely(!spin_try_lock(lock))) {
		spin_wait(lock);
	}
}

static inline void spin_unlock(struct spinlock *lock)
{
	__atomic_store_n(&lock->held, false, __ATOMIC_RELEASE);
}
