/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What memleak is told, what it remembers of a thread, and what it counts. */
#ifndef MEMTOOLS_MEMLEAK_STATE_BPF_H
#define MEMTOOLS_MEMLEAK_STATE_BPF_H

#include "loss.h"
#include "anchor.bpf.h"
#include "memleak.h"

const volatile u32 sample_every = 1;
const volatile u64 min_bytes = 0;
const volatile u64 max_bytes = (u64)-1;
const volatile u32 trace_every_event = 0;
/* Functions that free call others that are probed: operator delete calls free. User space sets it
 * when there are such. */
u32 frees_nest = 0;

enum function {
	FUNCTION_NONE = 0,
	FUNCTION_SIMPLE, /* returns the block */
	FUNCTION_REALLOC,
	FUNCTION_POSIX_MEMALIGN, /* returns 0, the block through a pointer */
	FUNCTION_MMAP,
	FUNCTION_MREMAP,
};

enum call_flag {
	CALL_RECORD = 1 << 0,
	CALL_HAS_OLD = 1 << 1,
	CALL_OLD_UNTRACKED = 1 << 2,
	CALL_FILE = 1 << 3,
	CALL_IN_PLACE = 1 << 4, /* realloc: the block stays where it is */
};

struct call {
	u64 stack_pointer;
	u64 address; /* of the probe */
	u64 bytes;
	u64 pointer;   /* realloc: the old block; posix_memalign: the out-pointer; mremap: the old
			  address */
	u64 old_bytes; /* mremap; mmap: the MAP_ flags */
	u32 function;
	u32 flags;
	u32 generation;
	u32 nested;
	/* Where it returns to, where no return probe is: what is done by its ends instead. Else 0.
	 */
	u64 caller;
	struct block old;
};

struct thread {
	struct call call;
	u64 arena_stack_pointer; /* an mmap inside the call; 0: none */
	u64 arena_bytes;
	u64 freed;			    /* the large block freed last */
	u64 freed_outside;		    /* where frees nest: the block freed last */
	struct anchor anchors[MAX_ANCHORS]; /* the innermost first */
	struct walk walk;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768); /* when full: loss.threads, the thread is not seen */
	__type(key, u32);
	__type(value, struct thread);
} threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, u32);
	__type(value, u64);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20); /* when full: loss.mapping_events, loss.trace_events */
} events SEC(".maps");

static const struct thread new_thread;

static __always_inline struct thread *thread_of(u64 task)
{
	u32 id = task;
	struct thread *thread = bpf_map_lookup_elem(&threads, &id);

	if (thread)
		return thread;
	/* Only this thread makes its own record. */
	if (bpf_map_update_elem(&threads, &id, &new_thread, BPF_NOEXIST)) {
		COUNT(counters, LOSS_THREADS);
		return NULL;
	}
	return bpf_map_lookup_elem(&threads, &id);
}

/* A wake-up costs the target about a microsecond: only past this watermark. */
#define WAKE_BYTES (256 << 10)

static __always_inline u64 wake_flags(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > WAKE_BYTES ? BPF_RB_FORCE_WAKEUP
									  : BPF_RB_NO_WAKEUP;
}

/* For what is rare and must not wait: objects of a new image want their probes. */
static __always_inline void send_at_once(struct event *event, u64 task)
{
	event->time_ns = bpf_ktime_get_ns();
	event->thread = task;
	event->generation = generation;
	if (bpf_ringbuf_output(&events, event, sizeof(*event), BPF_RB_FORCE_WAKEUP))
		COUNT(counters, LOSS_MAPPING_EVENTS);
}

static __always_inline void send(struct event *event, u64 task, u32 loss)
{
	event->time_ns = bpf_ktime_get_ns();
	event->thread = task;
	event->generation = generation;
	if (bpf_ringbuf_output(&events, event, sizeof(*event), wake_flags()))
		COUNT(counters, loss);
}

#endif
