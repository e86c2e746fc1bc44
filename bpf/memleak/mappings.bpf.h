/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Mappings: streamed, and kept as intervals by user space. */
#ifndef MEMTOOLS_MEMLEAK_MAPPINGS_BPF_H
#define MEMTOOLS_MEMLEAK_MAPPINGS_BPF_H

#include "memleak/calls.bpf.h"

/* From mmap(2) and mremap(2), asm-generic. */
#define PROT_NONE     0
#define MAP_FIXED     0x10
#define MAP_ANONYMOUS 0x20
#define MAP_FAILED    (~0ULL)
#define PAGE_MASK     4095ULL

static __always_inline u64 whole_pages(u64 bytes)
{
	return (bytes + PAGE_MASK) & ~PAGE_MASK;
}

static __always_inline bool is_record_wanted(u64 bytes)
{
	return bytes >= min_bytes && bytes <= max_bytes;
}

static __always_inline void send_map(u64 task, u64 address, u64 bytes, u32 map_flags, u32 flags,
				     u32 slot)
{
	struct event event = {
		.kind = EVENT_MAP,
		.flags = flags,
		.address = address,
		.bytes = whole_pages(bytes),
		.stack = slot,
		.map_flags = map_flags,
	};

	if (!is_record_wanted(bytes))
		event.flags |= EVENT_FILTERED;
	send(&event, task, LOSS_MAPPING_EVENTS);
}

/* glibc reserves an arena's heap with PROT_NONE; what malloc maps else is a block of its own. */
static __always_inline int enter_nested_mmap(struct thread *thread, u64 stack_pointer, u64 bytes,
					     u64 prot)
{
	if (prot != PROT_NONE)
		return 1;
	thread->arena_stack_pointer = stack_pointer;
	thread->arena_bytes = bytes;
	return 0;
}

static __always_inline int enter_mmap(struct pt_regs *ctx)
{
	u64 bytes = REGS_ARG2(ctx), prot = (u32)REGS_ARG3(ctx);
	u32 map_flags = REGS_ARG4(ctx);
	u64 task = current_task();
	struct thread *thread;
	struct call *call;

	if (!is_target(task))
		return 1;
	COUNT(counters, COUNTER_MAPPING_HITS);
	/* A file that takes nobody's place is nothing to us. */
	if (!(map_flags & (MAP_ANONYMOUS | MAP_FIXED)))
		return 1;
	thread = thread_of(task);
	if (!thread)
		return 1;
	if (is_inside_call(&thread->call, REGS_SP(ctx), REGS_IP(ctx)))
		return enter_nested_mmap(thread, REGS_SP(ctx), bytes, prot);
	call = begin_call(ctx, thread, bytes);
	if (!call)
		return 1;
	call->old_bytes = map_flags;
	call->flags = map_flags & MAP_ANONYMOUS ? CALL_RECORD : CALL_FILE;
	call->function = FUNCTION_MMAP;
	return 0;
}

static __always_inline bool leave_mmap(u64 task, const struct call *call, u64 address)
{
	if (address == MAP_FAILED) {
		COUNT(counters, COUNTER_FAILED);
		return false;
	}
	if (call->flags & CALL_FILE) {
		send_map(task, address, call->bytes, call->old_bytes, EVENT_FILE, STACK_UNKNOWN);
		return false;
	}
	COUNT(counters, COUNTER_MAPS);
	return true;
}

static __always_inline void leave_nested_mmap(struct pt_regs *ctx, u64 task, struct thread *thread)
{
	thread->arena_stack_pointer = 0;
	if (REGS_RESULT(ctx) != MAP_FAILED)
		send_map(task, REGS_RESULT(ctx), thread->arena_bytes, 0, EVENT_NESTED,
			 STACK_UNKNOWN);
}

/*
 * Sent at the entry: at the return the range may be another thread's already. What would fail
 * (not on a page, no length) is left out.
 */
static __always_inline int enter_munmap(struct pt_regs *ctx)
{
	struct event event = {.kind = EVENT_UNMAP};
	u64 task = current_task();
	u32 id = task;
	struct thread *thread;

	if (!is_target(task))
		return 0;
	COUNT(counters, COUNTER_MAPPING_HITS);
	event.address = REGS_ARG1(ctx);
	event.bytes = whole_pages(REGS_ARG2(ctx));
	if (event.address & PAGE_MASK || !event.bytes)
		return 0;
	thread = bpf_map_lookup_elem(&threads, &id);
	if (thread && thread->freed && thread->freed - event.address < event.bytes) {
		/* free gives a large block back: the block's own record is gone already. */
		thread->freed = 0;
		return 0;
	}
	/* What the allocator gives back was never ours, but for the ends of an arena. */
	if (!thread || !is_inside_call(&thread->call, REGS_SP(ctx), REGS_IP(ctx)))
		COUNT(counters, COUNTER_UNMAPS);
	send(&event, task, LOSS_MAPPING_EVENTS);
	return 0;
}

static __always_inline int enter_mremap(struct pt_regs *ctx)
{
	struct event event = {.kind = EVENT_REMAP_BEGIN};
	u64 task = current_task();
	struct call *call;

	if (!is_target(task))
		return 1;
	COUNT(counters, COUNTER_MAPPING_HITS);
	call = begin_call(ctx, thread_of(task), REGS_ARG3(ctx));
	if (!call)
		return 1;
	event.old_address = call->pointer = REGS_ARG1(ctx);
	event.old_bytes = call->old_bytes = whole_pages(REGS_ARG2(ctx));
	call->flags = CALL_RECORD;
	call->function = FUNCTION_MREMAP;
	send(&event, task, LOSS_MAPPING_EVENTS);
	return 0;
}

static __always_inline void send_remap(u64 task, const struct call *call, u64 address, u32 slot)
{
	struct event event = {
		.kind = EVENT_REMAP_END,
		.address = address,
		.bytes = whole_pages(call->bytes),
		.old_address = call->pointer,
		.old_bytes = call->old_bytes,
		.stack = slot,
	};

	if (!is_record_wanted(call->bytes))
		event.flags = EVENT_FILTERED;
	send(&event, task, LOSS_MAPPING_EVENTS);
}

static __always_inline bool leave_mremap(u64 task, const struct call *call, u64 address)
{
	if (address == MAP_FAILED) {
		COUNT(counters, COUNTER_FAILED);
		send_remap(task, call, 0, STACK_UNKNOWN);
		return false;
	}
	COUNT(counters, COUNTER_REMAPS);
	return true;
}

#endif
