/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Functions of which no tracepoint tells, each by its entry and its return. The stack is taken at
 * the entry, in a kprobe: elsewhere a program can be preempted meanwhile.
 */
#ifndef MEMLEAK_KERNEL_CALLS_BPF_H
#define MEMLEAK_KERNEL_CALLS_BPF_H

#include "memleak_kernel/blocks.bpf.h"

enum function {
	FUNCTION_VMALLOC = 1,
	FUNCTION_BULK,
};

struct call_key {
	u32 thread;
	u32 function;
};

struct call {
	u64 amount; /* bytes, or objects */
	u64 array;
	u64 bytes; /* of each object */
	u64 stack;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096); /* when full: loss.missed_returns */
	__type(key, struct call_key);
	__type(value, struct call);
} calls SEC(".maps");

static __always_inline struct call_key call_key_of(u32 function)
{
	u32 thread = bpf_get_current_pid_tgid();
	struct call_key key = {
		.thread = thread ?: 1U << 31 | bpf_get_smp_processor_id(),
		.function = function,
	};

	return key;
}

static __always_inline void begin_call(void *ctx, u32 function, u32 allocator, struct call *call)
{
	struct call_key key = call_key_of(function);

	if (!enabled)
		return;
	call->stack = note_stack(ctx, allocator);
	/* An older one never came back. */
	if (!bpf_map_update_elem(&calls, &key, call, BPF_NOEXIST))
		return;
	COUNT(counters, KERNEL_LOST_CALLS);
	bpf_map_update_elem(&calls, &key, call, BPF_ANY);
}

static __always_inline bool end_call(u32 function, struct call *call)
{
	struct call_key key = call_key_of(function);
	struct call *begun = bpf_map_lookup_elem(&calls, &key);

	if (!begun)
		return false;
	*call = *begun;
	bpf_map_delete_elem(&calls, &key);
	return true;
}

/* These two are not static: the verifier follows them once, and not for each turn of a loop. */

__noinline int enter_one(u32 allocator, u64 address, u64 bytes, u64 stack)
{
	bool was_held;

	if (begin_block(allocator, address, bytes, &was_held))
		record_block(allocator, address, bytes, 0, stack);
	return 0;
}

__noinline int leave_one(u64 object)
{
	leave_block(SLAB, object, true);
	return 0;
}

/* ---- vmalloc ---- */

static __always_inline int leave_vmalloc(u64 address)
{
	struct call call;

	if (!end_call(FUNCTION_VMALLOC, &call))
		return 0;
	if (!address) {
		COUNT(counters, KERNEL_FAILED);
		return 0;
	}
	enter_one(VMALLOC, address, call.amount, call.stack);
	return 0;
}

/* ---- objects in bulks ---- */

/* kfree_rcu() frees as many at once as a page has pointers. */
#define MAX_BULK 512

static __always_inline int leave_bulk_alloc(u64 has_worked)
{
	struct call call;
	u64 object;
	u32 i;

	if (!end_call(FUNCTION_BULK, &call))
		return 0;
	if (!has_worked) {
		COUNT(counters, KERNEL_FAILED);
		return 0;
	}
	for (i = 0; i < MAX_BULK && i < call.amount; i++) {
		object = 0;
		bpf_probe_read_kernel(&object, sizeof(object), (u64 *)call.array + i);
		if (object)
			enter_one(SLAB, object, call.bytes, call.stack);
	}
	if (call.amount > MAX_BULK)
		COUNT_BY(counters, KERNEL_NOT_FOLLOWED, call.amount - MAX_BULK);
	return 0;
}

static __always_inline int leave_bulk_free(u64 objects, u64 array)
{
	u64 object;
	u32 i;

	for (i = 0; i < MAX_BULK && i < objects; i++) {
		object = 0;
		bpf_probe_read_kernel(&object, sizeof(object), (u64 *)array + i);
		if (object)
			leave_one(object);
	}
	if (objects > MAX_BULK)
		COUNT_BY(counters, KERNEL_NOT_FOLLOWED, objects - MAX_BULK);
	return 0;
}

#endif
