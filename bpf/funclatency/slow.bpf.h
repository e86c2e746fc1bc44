/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Calls that took long, one by one. */
#ifndef FUNCLATENCY_SLOW_BPF_H
#define FUNCLATENCY_SLOW_BPF_H

/* With arguments; something is told of single calls. */
const volatile u32 wants_slow = 0;
/* With stacks. */
const volatile u32 wants_stack = 0;

/* From here on a call is told of, in nanoseconds; user space sets it. It looks for them from time
 * to time: a wake-up would cost the caller a microsecond. */
u64 slow_ns = (u64)-1;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20); /* when full: loss.slow_calls */
} events SEC(".maps");

static __always_inline void describe(struct slow_call *slow, const struct ended_call *ended,
				     u64 now, u64 result)
{
	struct call_details *details = details_at(known_details(), ended->depth);
	u64 task = current_task();

	slow->time_ns = now;
	slow->ns = ended->ns;
	slow->result = result;
	if (details)
		__builtin_memcpy(slow->arguments, details->arguments, sizeof(slow->arguments));
	else
		__builtin_memset(slow->arguments, 0, sizeof(slow->arguments));
	slow->process = task >> 32;
	slow->thread = task;
	slow->function = ended->call->function;
	slow->depth = 0;
	slow->cpu = bpf_get_smp_processor_id();
	slow->reserved = 0;
	bpf_get_current_comm(slow->comm, sizeof(slow->comm));
}

/* All ones, or zero. */
static __always_inline u64 is_zero(u64 word)
{
	return ((word | -word) >> 63) - 1;
}

/* Where callers that are traced as well return to: the trampoline stands in their slots. */
static __noinline int restore_returns(struct thread_calls *thread)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	u64 trampoline = BPF_CORE_READ(task, mm, uprobes_state.xol_area, vaddr);
	u64 frame, caller, is_held, depth;
	struct thread_details *details = known_details();
	struct walk *walk;
	u32 i;

	if (!thread || !trampoline || !details)
		return 0;
	walk = &thread->walk;
	/* As in the walk: no branch inside, and what the verifier would follow is in memory. */
	walk->reserved = READ_ONCE(thread->depth);
	for (i = 1; i < MAX_FRAMES && i < walk->depth; i++) {
		frame = walk->frames[i];
		depth = READ_ONCE(walk->reserved);
		is_held = is_zero(frame ^ trampoline) & is_below(1, depth);
		depth -= is_held & 1;
		WRITE_ONCE(walk->reserved, depth);
		caller = details->calls[(depth - 1) & (MAX_DEPTH - 1)].return_address;
		walk->frames[i] = (frame & ~is_held) | (caller & is_held);
	}
	return 0;
}

/* The caller's stack, from where it goes on; into the thread's record. */
static __noinline int walk_callers(struct thread_calls *thread, u64 return_address,
				   u64 stack_pointer, u64 frame_pointer)
{
	struct walk *walk;

	if (!thread)
		return 0;
	walk = &thread->walk;
	walk->frames[0] = return_address;
	walk->start_depth = 1;
	walk->frame_pointer = frame_pointer;
	walk->stack_pointer = stack_pointer;
	walk->flags = 0;
	walk_stack(walk, 1);
	return 0;
}

static __always_inline void tell_slow(void *ctx, const struct ended_call *ended, u64 now,
				      u64 result, u64 frame_pointer)
{
	struct slow_call_with_stack *slow;
	struct call_details *details;
	struct slow_call *plain;
	s64 bytes;

	if (!wants_stack) {
		plain = bpf_ringbuf_reserve(&events, sizeof(*plain), 0);
		if (!plain) {
			COUNT(counters, LOST_SLOW);
			return;
		}
		describe(plain, ended, now, result);
		bpf_ringbuf_submit(plain, BPF_RB_NO_WAKEUP);
		return;
	}
	if (!is_kernel) {
		details = details_at(known_details(), ended->depth);
		walk_callers(ended->thread, details ? details->return_address : 0,
			     ended->call->stack_pointer + RETURN_SLOT, frame_pointer);
		restore_returns(ended->thread);
	}
	slow = bpf_ringbuf_reserve(&events, sizeof(*slow), 0);
	if (!slow) {
		COUNT(counters, LOST_SLOW);
		return;
	}
	describe(&slow->call, ended, now, result);
	if (is_kernel) {
		bytes = bpf_get_stack(ctx, slow->frames, sizeof(slow->frames), 0);
		slow->call.depth = bytes > 0 ? (u64)bytes / 8 : 0;
	} else {
		/* A depth of 127 at most is a mask of whole words. */
		bytes = ended->thread->walk.depth * 8 & MAX_FRAMES * 8;
		bpf_probe_read_kernel(slow->frames, bytes, ended->thread->walk.frames);
		slow->call.depth = (u64)bytes / 8;
	}
	bpf_ringbuf_submit(slow, BPF_RB_NO_WAKEUP);
}

#endif
