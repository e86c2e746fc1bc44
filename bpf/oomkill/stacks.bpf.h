/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The stacks of the thread that ran out of memory. */
#ifndef MEMTOOLS_OOMKILL_STACKS_BPF_H
#define MEMTOOLS_OOMKILL_STACKS_BPF_H

struct stacks_state {
	struct oom_stacks stacks;
	struct walk walk;
};

/* The OOM killer runs one at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct stacks_state);
} stacks_scratch SEC(".maps");

/* The registers with which a task has entered the kernel. */
static __always_inline u64 user_registers(struct task_struct *task)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return (u64)bpf_task_pt_regs(bpf_get_current_task_btf());
	return (u64)BPF_CORE_READ(task, stack) + kernel_stack_bytes() - sizeof(struct pt_regs);
}

static __always_inline void send_stacks(void *ctx, struct oom_kill *kill, struct pt_regs *regs)
{
	u32 zero = 0;
	struct stacks_state *state = bpf_map_lookup_elem(&stacks_scratch, &zero);
	struct oom_stacks *stacks;
	long bytes;

	if (!state)
		return;
	stacks = &state->stacks;
	stacks->kind = EVENT_STACKS;
	stacks->time_ns = kill->time_ns;
	stacks->process = kill->trigger.process;
	stacks->thread = kill->trigger.thread;
	bytes = bpf_get_stack(ctx, stacks->kernel, sizeof(stacks->kernel), 0);
	stacks->kernel_depth = bytes > 0 ? bytes / sizeof(u64) : 0;
	stacks->user_depth = 0;
	stacks->flags = 0;
	if (kill->flags & (KILL_IN_FAULT | KILL_IN_CALL)) {
		allow_any_text();
		state->walk.frame_pointer = REGS_FP(regs);
		state->walk.stack_pointer = REGS_SP(regs);
		state->walk.flags = 0;
		state->walk.start_depth = 1;
		state->walk.frames[0] = REGS_IP(regs);
		walk_stack(&state->walk, 0);
		stacks->user_depth = state->walk.depth;
		stacks->flags = state->walk.flags;
		bpf_probe_read_kernel(stacks->user, sizeof(stacks->user), state->walk.frames);
	}
	if (bpf_ringbuf_output(&events, stacks, sizeof(*stacks), 0))
		add(&lost_events, 1);
}

#endif
