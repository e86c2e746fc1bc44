/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Counters per CPU. A program can be preempted by another one on the same CPU (preempt=full, and
 * 7.2 as it boots), so even these are added to atomically; the cache line stays the CPU's own.
 */
#ifndef MEMTOOLS_LOSS_H
#define MEMTOOLS_LOSS_H

#include "atomic.h"

#define COUNT(map, index)                                                                          \
	do {                                                                                       \
		u32 __index = (index);                                                             \
		u64 *__counter = bpf_map_lookup_elem(&(map), &__index);                            \
		if (__counter)                                                                     \
			add(__counter, 1);                                                         \
	} while (0)

#define COUNT_BY(map, index, amount)                                                               \
	do {                                                                                       \
		u32 __index = (index);                                                             \
		u64 *__counter = bpf_map_lookup_elem(&(map), &__index);                            \
		if (__counter)                                                                     \
			add(__counter, (amount));                                                  \
	} while (0)

#endif
