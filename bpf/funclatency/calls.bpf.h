/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The calls that a thread is inside of: a stack, as its own. A return belongs to the call with the
 * same stack pointer, so what returns without having been entered, or is left in another way
 * (exceptions, longjmp), puts nothing out of order.
 *
 * An interrupt uses the record of the thread that it interrupts: what it pushes it has popped
 * before that thread goes on. So a place is taken before it is filled, and read before it is given
 * back.
 */
#ifndef FUNCLATENCY_CALLS_BPF_H
#define FUNCLATENCY_CALLS_BPF_H

struct thread_calls {
	u32 depth;
	u32 pending; /* returns that the kernel holds */
	struct function_call calls[MAX_DEPTH];
	struct walk walk;
};

struct thread_details {
	struct call_details calls[MAX_DEPTH];
};

#include "thread_record.bpf.h"

THREAD_RECORDS(calls, struct thread_calls)
THREAD_RECORDS(details, struct thread_details)

/* enum recursion */
const volatile u32 recursion = RECURSION_ALL;
/* Calls deeper than this are not counted. */
const volatile u32 max_level = (u32)-1;
/* Returns can go unseen of functions that nothing leaves but by returning. */
const volatile u32 may_miss_returns = 0;
/* Functions are the kernel's, not a program's. */
const volatile u32 is_kernel = 0;

#define KERNEL_STACK_BYTES (16 << 10)

static __always_inline struct function_call *call_at(struct thread_calls *thread, u32 index)
{
	return &thread->calls[index & (MAX_DEPTH - 1)];
}

/* Of the running thread's innermost call; NULL: there is no room. */
static __always_inline struct call_details *details_at(struct thread_details *thread, u32 index)
{
	if (!thread)
		return NULL;
	/* Else the compiler computes the place before it is known that there is one. */
	asm volatile("" : "+r"(thread));
	return &thread->calls[index & (MAX_DEPTH - 1)];
}

/*
 * A number that the verifier knows nothing of: else it would follow what comes after a loop once
 * for each turn in which that can end.
 */
static __always_inline u32 unknown(u32 number)
{
	u32 copy = 0;

	bpf_probe_read_kernel(&copy, sizeof(copy), &number);
	return copy;
}

/*
 * Which stack pointers are those of calls that have been left by the time that another one begins:
 * those from `start` on, so many bytes, or all others.
 */
struct left_range {
	u64 start;
	u64 bytes;
	u64 is_outside; /* 0 or 1 */
	u64 equal;	/* with this stack pointer, a call of the function has been left */
	u32 function;
};

/* Whether a return slot leads to the trampoline of the process. */
static __always_inline bool is_return_held(u64 return_slot)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	u64 trampoline = BPF_CORE_READ(task, mm, uprobes_state.xol_area, vaddr);
	u64 word = 0;

	bpf_probe_read_user(&word, sizeof(word), (const void *)return_slot);
	return trampoline && word == trampoline;
}

/*
 * Where they are the same, one was a tail call of the other. An interrupt has a stack of its own,
 * and ends before the thread goes on.
 */
static __always_inline void left_in_kernel(struct left_range *left, u64 stack_pointer, u32 function)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	u64 end = (u64)BPF_CORE_READ(task, stack) + KERNEL_STACK_BYTES;

	left->equal = stack_pointer;
	left->function = function;
	left->is_outside = end - stack_pointer <= KERNEL_STACK_BYTES;
	if (left->is_outside) {
		left->start = stack_pointer;
		left->bytes = end - stack_pointer;
	} else {
		left->start = stack_pointer & ~(u64)(KERNEL_STACK_BYTES - 1);
		left->bytes = stack_pointer - left->start;
	}
}

/* A signal's handler can have a stack of its own. Two functions return by one slot after a tail
 * call: then the kernel holds the return of the first. */
static __always_inline void left_in_program(struct left_range *left, u64 stack_pointer)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	u64 start = BPF_CORE_READ(task, sas_ss_sp);

	if (stack_pointer - start >= BPF_CORE_READ(task, sas_ss_size))
		start = 0;
	left->start = start;
	left->bytes = stack_pointer - start + !is_return_held(stack_pointer);
}

/* 1 or 0, for any two words, without a branch. */
static __always_inline u64 is_less(u64 a, u64 b)
{
	return ((~a & b) | ((~a | b) & (a - b))) >> 63;
}

static __always_inline u64 is_left(const struct left_range *left, const struct function_call *call)
{
	u64 is_inside = is_less(call->stack_pointer - left->start, left->bytes);
	u64 differs = (call->stack_pointer ^ left->equal) | (call->function ^ left->function);

	return (is_inside ^ left->is_outside) | is_less(differs, 1);
}

/* How many of the innermost calls have been left by the time that another one begins. */
static __noinline u32 count_left(struct thread_calls *thread, u32 function, u64 stack_pointer)
{
	struct left_range left = {};
	u32 i, depth;

	if (!thread)
		return 0;
	if (is_kernel)
		left_in_kernel(&left, stack_pointer, function);
	else
		left_in_program(&left, stack_pointer);
	depth = READ_ONCE(thread->depth);
	for (i = 0; i < MAX_DEPTH && i < depth; i++)
		if (!is_left(&left, call_at(thread, depth - 1 - i)))
			break;
	return unknown(i);
}

/*
 * Takes out the innermost calls down to a depth: nobody has seen them return. Nothing leaves a
 * function of the kernel in another way, but for the end of the thread, `is_end`; and where returns
 * can be missed, there is no telling.
 */
static __noinline int drop_down_to(struct thread_calls *thread, u32 wanted, bool is_end)
{
	const u32 uncounted = CALL_IGNORED | CALL_HAS_INNER;
	struct function_stats *stats;
	struct function_call *call;
	u32 i, depth, held = 0;

	if (!thread)
		return 0;
	depth = READ_ONCE(thread->depth);
	for (i = 0; i < MAX_DEPTH && wanted + i < depth; i++) {
		call = call_at(thread, wanted + i);
		held += call->flags & CALL_BY_PROBE;
		/* Whoever finds the place taken, and not yet filled, finds no stack of an
		 * interrupt. */
		call->stack_pointer = 0;
		stats = stats_of(call->function);
		if (stats)
			add(is_kernel && (!is_end || may_miss_returns) ? &stats->missed
								       : &stats->unwound,
			    !(call->flags & uncounted));
	}
	thread->pending -= held;
	barrier();
	WRITE_ONCE(thread->depth, wanted);
	return 0;
}

/* The depth of the innermost call of a function; 0: the thread is in none. */
static __noinline u32 innermost_of(struct thread_calls *thread, u32 function)
{
	u32 i, depth, found = 0;

	if (!thread)
		return 0;
	depth = READ_ONCE(thread->depth);
	for (i = 0; i < MAX_DEPTH && i < depth; i++) {
		if (call_at(thread, depth - 1 - i)->function == function) {
			found = depth - i;
			break;
		}
	}
	return unknown(found);
}

static __always_inline bool is_of(const struct function_call *call, u32 function, u64 stack_pointer,
				  u64 since)
{
	return (function == ANY_FUNCTION || call->function == function) &&
	       (since ? call->since == since : call->stack_pointer == stack_pointer);
}

/* The depth of the call that returns, if it is not the innermost; 0: nobody has seen it entered. */
static __noinline u32 search_returning(struct thread_calls *thread, u32 function, u64 stack_pointer,
				       u64 since)
{
	u32 i, depth, found = 0;

	if (!thread)
		return 0;
	depth = READ_ONCE(thread->depth);
	for (i = 1; i < MAX_DEPTH && i < depth; i++) {
		if (is_of(call_at(thread, depth - 1 - i), function, stack_pointer, since)) {
			found = depth - i;
			break;
		}
	}
	return unknown(found);
}

static __always_inline u32 returning(struct thread_calls *thread, u32 function, u64 stack_pointer,
				     u64 since)
{
	u32 depth = READ_ONCE(thread->depth);

	if (!depth)
		return 0;
	if (is_of(call_at(thread, depth - 1), function, stack_pointer, since))
		return depth;
	return search_returning(thread, function, stack_pointer, since);
}

/* Flags of a call that is nested in another one of its function. */
static __always_inline u32 nested(struct thread_calls *thread, struct function_stats *stats,
				  u32 function)
{
	struct function_call *outer;
	u32 depth = innermost_of(thread, function);

	if (!depth)
		return 0;
	if (recursion == RECURSION_OUTERMOST)
		return CALL_IGNORED;
	outer = call_at(thread, depth - 1);
	if (!(outer->flags & (CALL_HAS_INNER | CALL_IGNORED))) {
		outer->flags |= CALL_HAS_INNER;
		add(&stats->calls, -1);
	}
	return 0;
}

/* Whether a call has certainly not been left when another one begins. */
static __always_inline bool is_caller(const struct function_call *call, u64 stack_pointer)
{
	u64 distance = call->stack_pointer - stack_pointer;

	return distance && distance < KERNEL_STACK_BYTES &&
	       (!is_kernel || (call->stack_pointer ^ stack_pointer) < KERNEL_STACK_BYTES);
}

/* A call begins. NULL: its return is not waited for. Who called this sets `since` last. Where it
 * stands in the thread's record is put into `depth_before`. */
static __always_inline struct function_call *begin_call(u32 function, u64 stack_pointer, u32 flags,
							u32 *depth_before)
{
	struct function_stats *stats;
	struct thread_calls *thread;
	struct function_call *call;
	u32 depth, left;
	bool is_held;

	if (!enabled || !is_wanted(current_task()))
		return NULL;
	stats = stats_of(function);
	if (!stats)
		return NULL;
	thread = own_calls();
	if (!thread) {
		add(&stats->calls, 1);
		add(&stats->missed, 1);
		COUNT(counters, LOST_THREADS);
		return NULL;
	}
	/* The kernel looks at its limit before it forgets what has been left. */
	is_held = !(flags & CALL_BY_PROBE) || thread->pending < MAX_RETURN_PROBES;
	depth = READ_ONCE(thread->depth);
	/* Nearly always the innermost is a caller of this one. */
	if (is_held && depth && !is_caller(call_at(thread, depth - 1), stack_pointer)) {
		left = count_left(thread, function, stack_pointer);
		if (left)
			drop_down_to(thread, depth - left, false);
		depth = READ_ONCE(thread->depth);
	}
	if (depth >= max_level)
		flags |= CALL_IGNORED;
	else if (recursion != RECURSION_ALL)
		flags |= nested(thread, stats, function);
	if (!(flags & CALL_IGNORED))
		add(&stats->calls, 1);
	if (!is_held || depth >= MAX_DEPTH) {
		if (!(flags & CALL_IGNORED))
			add(&stats->missed, 1);
		return NULL;
	}
	WRITE_ONCE(thread->depth, depth + 1);
	barrier();
	call = call_at(thread, depth);
	call->stack_pointer = stack_pointer;
	call->function = function;
	call->flags = flags;
	if (flags & CALL_BY_PROBE)
		thread->pending++;
	*depth_before = depth;
	return call;
}

/* What a return needs to know of its call. */
struct ended_call {
	struct thread_calls *thread;
	struct function_call *call; /* still its own, until somebody begins another one */
	u32 depth;		    /* that others are inside of */
	u64 ns;
};

/* A call ends: `false`: it does not count. `is_certain`: it is a return, whatever is known. */
static __always_inline bool end_call(struct ended_call *ended, u32 function, u64 stack_pointer,
				     u64 since, u64 now, bool is_certain)
{
	struct function_stats *stats;
	struct thread_calls *thread = known_calls();
	struct function_call *call;
	u32 depth = 0, flags;

	if (thread)
		depth = returning(thread, function, stack_pointer, since);
	if (!thread || !depth) {
		/* Of a full record some calls are not told apart. */
		if (thread && READ_ONCE(thread->depth) >= MAX_DEPTH)
			return false;
		if (is_certain && enabled && is_wanted(current_task())) {
			stats = stats_of(function);
			if (stats)
				add(&stats->unpaired, 1);
		}
		return false;
	}
	if (depth < READ_ONCE(thread->depth))
		drop_down_to(thread, depth, false);
	call = call_at(thread, depth - 1);
	flags = call->flags;
	ended->thread = thread;
	ended->call = call;
	ended->depth = depth - 1;
	ended->ns = now - call->since;
	if (flags & CALL_BY_PROBE && thread->pending)
		thread->pending--;
	if (flags & (CALL_IGNORED | CALL_HAS_INNER)) {
		/* With --recursion innermost. */
		call->stack_pointer = 0;
		WRITE_ONCE(thread->depth, depth - 1);
		return false;
	}
	return true;
}

/* The running thread is inside of nothing any more. */
static __always_inline void leave_all(void)
{
	struct thread_calls *thread = known_calls();

	if (thread) {
		drop_down_to(thread, 0, true);
		thread->pending = 0;
	}
}

#endif
