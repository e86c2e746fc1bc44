/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The outermost call wins: which one is on its way in a thread. */
#ifndef MEMTOOLS_MEMLEAK_CALLS_BPF_H
#define MEMTOOLS_MEMLEAK_CALLS_BPF_H

#include "memleak/blocks.bpf.h"

/*
 * A pending call is taken for one that never returned after so many calls inside it. An allocator
 * may fill a pool by calls of another one; that a function calls itself again and again is a sign.
 */
#define MAX_NESTED_CALLS 4096
#define NESTED_IN_ITSELF 256

/* realloc never came back: its old block is still the program's. */
static __noinline void drop_call(struct call *call)
{
	/* Nothing but an exception leaves operator new. */
	if (call->caller)
		COUNT(counters, COUNTER_FAILED);
	else
		COUNT(counters, LOSS_MISSED_RETURNS);
	if (call->flags & CALL_HAS_OLD)
		put_block(call->pointer, &call->old);
	call->function = FUNCTION_NONE;
}

/* Whether the return slot of a call still holds what it held while the call was on its way. */
static __always_inline bool is_call_pending(const struct call *call)
{
	if (call->caller)
		return read_user_word(call->stack_pointer) == call->caller;
	return is_return_pending(call->stack_pointer);
}

/* operator new from the same place, after an exception has left it: its slot is as it was. */
static __always_inline bool is_tried_again(const struct call *call, u64 stack_pointer, u64 address)
{
	return call->caller && call->stack_pointer == stack_pointer && call->address == address;
}

/*
 * Whether an outer call of this thread is still on its way. One that was left by longjmp, or by
 * an exception, is not: its stack pointer lies below, or its return slot was written over.
 */
static __always_inline bool is_inside_call(struct call *call, u64 stack_pointer, u64 address)
{
	if (!call->function)
		return false;
	if (call->generation != generation) {
		call->function = FUNCTION_NONE;
		return false;
	}
	call->nested += address == call->address ? NESTED_IN_ITSELF : 1;
	if (stack_pointer > call->stack_pointer || call->nested > MAX_NESTED_CALLS ||
	    is_tried_again(call, stack_pointer, address) || !is_call_pending(call)) {
		drop_call(call);
		return false;
	}
	COUNT(counters, COUNTER_NESTED_CALLS);
	return true;
}

/* The slot of the stack that begins with what a thread's walk has found already. */
static __always_inline u32 slot_of_walk(struct thread *thread, u64 last, bool by_helper)
{
	u64 seed = (u64)generation << 32 | epoch;
	struct walk *walk = &thread->walk;
	u64 hash;
	u32 slot;

	follow_anchors(thread->anchors, walk, last);
	hash = by_helper ? walk_stack_by_helper(walk, seed) : walk_stack(walk, seed);
	if (walk->flags & STACK_TRUNCATED)
		COUNT(counters, LOSS_TRUNCATED_STACKS);
	slot = find_stack(hash);
	if (slot != STACK_UNKNOWN)
		return slot;
	slot = keep_stack(walk, hash, generation);
	if (slot == STACK_UNKNOWN)
		COUNT(counters, LOSS_STACKS);
	return slot;
}

/* The thread's call made ready, or NULL: inside another call. The function is set last. */
static __always_inline struct call *begin_call(struct pt_regs *ctx, struct thread *thread,
					       u64 bytes)
{
	struct call *call;

	if (!thread || is_inside_call(&thread->call, REGS_SP(ctx), REGS_IP(ctx)))
		return NULL;
	call = &thread->call;
	call->stack_pointer = REGS_SP(ctx);
	call->address = REGS_IP(ctx);
	call->bytes = bytes;
	call->generation = generation;
	call->nested = 0;
	call->flags = 0;
	call->pointer = 0;
	call->caller = 0;
	thread->arena_stack_pointer = 0;
	thread->freed = 0;
	thread->freed_outside = 0;
	return call;
}

/* At random: every N-th would fall into step with a program that repeats itself. */
static __always_inline bool is_wanted(u64 bytes)
{
	if (bytes < min_bytes || bytes > max_bytes)
		return false;
	return sample_every <= 1 || bpf_get_prandom_u32() % sample_every == 0;
}

#endif
