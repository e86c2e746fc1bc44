/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Memory of a CPU in which a program writes what its own stack has no room for. A program can be
 * interrupted by an event on its own CPU, as when RCU frees files in a softirq: `busy` tells, and
 * that event has the next place, for it ends first.
 *
 * `take_NAME()` gives one, or NULL when all are busy; `give_NAME()` gives it back.
 */
#ifndef MEMTOOLS_SCRATCH_BPF_H
#define MEMTOOLS_SCRATCH_BPF_H

#include "atomic.h"

#define SCRATCH_CONTEXTS 3 /* a task, a softirq, an interrupt */

#define SCRATCH(NAME, TYPE)                                                                        \
	struct NAME##_place {                                                                      \
		u64 busy;                                                                          \
		TYPE value;                                                                        \
	};                                                                                         \
                                                                                                   \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                           \
		__uint(max_entries, SCRATCH_CONTEXTS);                                             \
		__type(key, u32);                                                                  \
		__type(value, struct NAME##_place);                                                \
	} NAME SEC(".maps");                                                                       \
                                                                                                   \
	static __always_inline struct NAME##_place *take_##NAME##_of(u32 context)                  \
	{                                                                                          \
		struct NAME##_place *__place = bpf_map_lookup_elem(&NAME, &context);               \
                                                                                                   \
		if (!__place || READ_ONCE(__place->busy))                                          \
			return NULL;                                                               \
		WRITE_ONCE(__place->busy, 1);                                                      \
		return __place;                                                                    \
	}                                                                                          \
                                                                                                   \
	/* No loop: 5.10 takes one here for endless. */                                            \
	static __always_inline struct NAME##_place *take_##NAME(void)                              \
	{                                                                                          \
		return take_##NAME##_of(0) ?: take_##NAME##_of(1) ?: take_##NAME##_of(2);          \
	}                                                                                          \
                                                                                                   \
	static __always_inline void give_##NAME(struct NAME##_place *place)                        \
	{                                                                                          \
		WRITE_ONCE(place->busy, 0);                                                        \
	}

#endif
