/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Words that several CPUs write: the few operations that 5.10 has. */
#ifndef MEMTOOLS_ATOMIC_H
#define MEMTOOLS_ATOMIC_H

#define READ_ONCE(place)	 (*(const volatile typeof(place) *)&(place))
#define WRITE_ONCE(place, value) (*(volatile typeof(place) *)&(place) = (value))

/*
 * By hand, because newer compilers make a fetching add of __sync_fetch_and_add even where nobody
 * wants the value, and 5.10 refuses that.
 */
static __always_inline void add(u64 *word, u64 amount)
{
	asm volatile("lock *(u64 *)(%0 + 0) += %1" : : "r"(word), "r"(amount) : "memory");
}

#if defined(__TARGET_ARCH_x86)
/* What stands before is done before, and what stands after is done after. */
static __always_inline void add_ordered(u32 *word, u32 amount)
{
	asm volatile("lock *(u32 *)(%0 + 0) += %1" : : "r"(word), "w"(amount) : "memory");
}

/* A store that nobody sees before the stores that stand before it. */
static __always_inline void publish(u64 *word, u64 value)
{
	asm volatile("" : : : "memory");
	WRITE_ONCE(*word, value);
}
#else
/* Only operations that return the old value put the others in order there (5.12). */
static __always_inline void add_ordered(u32 *word, u32 amount)
{
	u32 old = __sync_fetch_and_add(word, amount);

	asm volatile("" : : "r"(old) : "memory");
}

static __always_inline void publish(u64 *word, u64 value)
{
	u64 old = __sync_lock_test_and_set(word, value);

	asm volatile("" : : "r"(old) : "memory");
}
#endif

#endif
