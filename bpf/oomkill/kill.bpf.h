/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A victim is marked. */
#ifndef MEMTOOLS_OOMKILL_KILL_BPF_H
#define MEMTOOLS_OOMKILL_KILL_BPF_H

#define SIGKILL	       9
#define SIGNAL_PRIVATE 1 /* SEND_SIG_PRIV: the kernel's own, without a siginfo */
#define SIGNAL_SENDERS 1024
#define MAX_PID	       (1 << 22)

/* Whom a thread has sent SIGKILL last, by thread; another one of the same slot is told apart. */
struct sent {
	u64 sender;
	u64 receiver;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SIGNAL_SENDERS);
	__type(key, u32);
	__type(value, struct sent);
} sent_signals SEC(".maps");

/* The OOM killer runs one at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct oom_kill);
} kill_scratch SEC(".maps");

struct awaited {
	u32 process;
	u32 reserved;
	u64 start_boottime_ns;
};

/* Victims whose memory is not freed yet, by the address of their struct mm_struct. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096); /* when full: loss.reaps */
	__type(key, u64);
	__type(value, struct awaited);
} victims SEC(".maps");

u64 marked = 0; /* victims so far; without one, no exit is of interest */

static __always_inline struct sent *sent_by(u64 sender)
{
	/* Tasks are allocated in steps of some cache lines. */
	u32 slot = (sender >> 6) & (SIGNAL_SENDERS - 1);

	return bpf_map_lookup_elem(&sent_signals, &slot);
}

static __always_inline int note_signal(u64 signal, u64 info, u64 receiver)
{
	u64 sender;
	struct sent *sent;

	if ((u32)signal != SIGKILL || info != SIGNAL_PRIVATE)
		return 0;
	sender = bpf_get_current_task();
	sent = sent_by(sender);
	if (sent) {
		sent->sender = sender;
		sent->receiver = receiver;
	}
	return 0;
}

/* The tracepoint's argument: a task, or before the change that came with 6.10 its thread ID. */
static __always_inline struct task_struct *task_of(u64 argument, u64 receiver)
{
	struct domain_state *state;
	struct task_struct *task;

	if (argument > MAX_PID)
		return (struct task_struct *)argument;
	task = (struct task_struct *)receiver;
	if (task && BPF_CORE_READ(task, pid) == argument)
		return task;
	task = current_task();
	if (BPF_CORE_READ(task, pid) == argument)
		return task;
	state = domain_state();
	if (!state || state->task != (u64)task)
		return 0;
	task = (struct task_struct *)state->domain.chosen;
	return task && BPF_CORE_READ(task, pid) == argument ? task : 0;
}

/* Appends the names of a cgroup's path, from the innermost outward, without the root's. */
static __noinline u32 append_path(struct oom_kill *kill, u64 cgroup)
{
	struct kernfs_node *node, *parent;
	u32 bytes = 0, at, i;
	long length;

	node = BPF_CORE_READ((struct cgroup *)cgroup, kn);
	for (i = 0; i < MAX_CGROUP_DEPTH; i++) {
		if (!node)
			return bytes;
		parent = parent_of(node);
		if (!parent)
			return bytes;
		at = kill->text_bytes;
		if (at > TEXT_BYTES)
			break;
		length = bpf_probe_read_kernel_str(&kill->text[at], PIECE_BYTES,
						   BPF_CORE_READ(node, name));
		if (length < 0)
			break;
		kill->text_bytes = at + length;
		bytes += length;
		node = parent;
	}
	kill->flags |= KILL_TEXT_CUT;
	return bytes;
}

/* Of the current process only: its memory is there. */
static __noinline u32 append_command_line(struct oom_kill *kill, u64 mm_address)
{
	struct mm_struct *mm = (struct mm_struct *)mm_address;
	u64 start = BPF_CORE_READ(mm, arg_start);
	u64 left = BPF_CORE_READ(mm, arg_end) - start;
	u32 bytes = 0, at, i;
	u64 piece;

	for (i = 0; i < COMMAND_PIECES; i++) {
		if (!left)
			return bytes;
		at = kill->text_bytes;
		if (at > TEXT_BYTES)
			break;
		piece = left < PIECE_BYTES ? left : PIECE_BYTES;
		/* Again, in the very register that the helper gets. */
		asm volatile("" : "+r"(piece));
		if (piece > PIECE_BYTES)
			break;
		/* Not there: it is read by user space. */
		if (bpf_probe_read_user(&kill->text[at], piece, (void *)start))
			return 0;
		kill->text_bytes = at + piece;
		bytes += piece;
		start += piece;
		left -= piece;
	}
	if (left)
		kill->flags |= KILL_TEXT_CUT;
	return bytes;
}

static __always_inline void append_texts(struct oom_kill *kill, struct task_struct *victim,
					 struct task_struct *trigger)
{
	struct mem_cgroup *memcg;
	u64 cgroup, its_default;

	kill->text_bytes = 0;
	kill->texts[TEXT_VICTIM_MEMORY_CGROUP] = 0;
	kill->texts[TEXT_VICTIM_CGROUP] = 0;
	kill->texts[TEXT_DOMAIN_CGROUP] = 0;
	kill->texts[TEXT_COMMAND_LINE] = 0;
	if (victim) {
		cgroup = (u64)BPF_CORE_READ(memory_css(victim), cgroup);
		kill->texts[TEXT_VICTIM_MEMORY_CGROUP] = append_path(kill, cgroup);
		its_default = (u64)BPF_CORE_READ(victim, cgroups, dfl_cgrp);
		if (its_default != cgroup)
			kill->texts[TEXT_VICTIM_CGROUP] = append_path(kill, its_default);
	}
	if (kill->flags & KILL_HAS_MEMCG) {
		memcg = (struct mem_cgroup *)kill->domain.memcg;
		cgroup = (u64)BPF_CORE_READ(memcg, css.cgroup);
		kill->texts[TEXT_DOMAIN_CGROUP] = append_path(kill, cgroup);
	}
	cgroup = (u64)BPF_CORE_READ(memory_css(trigger), cgroup);
	kill->texts[TEXT_TRIGGER_CGROUP] = append_path(kill, cgroup);
	if (victim && BPF_CORE_READ(victim, tgid) == BPF_CORE_READ(trigger, tgid))
		kill->texts[TEXT_COMMAND_LINE] =
			append_command_line(kill, (u64)BPF_CORE_READ(trigger, mm));
}

static __always_inline void read_trigger(struct oom_kill *kill, struct task_struct *trigger,
					 struct pt_regs *regs)
{
	u64 address;

	read_task(trigger, &kill->trigger);
	kill->call = -1;
	if (BPF_CORE_READ(trigger, flags) & PF_KTHREAD) {
		kill->flags |= KILL_BY_KERNEL;
		return;
	}
	address = user_registers(trigger);
	if (!address || bpf_probe_read_kernel(regs, sizeof(*regs), (void *)address))
		return;
#if defined(__TARGET_ARCH_x86)
	kill->call = regs->orig_ax;
	kill->flags |= kill->call < 0 ? KILL_IN_FAULT : KILL_IN_CALL;
#endif
}

static __always_inline void read_domain_of(struct oom_kill *kill, u64 victim)
{
	struct domain_state *state = find_domain_of(victim, kill->flags & KILL_SENT);
	u64 memcg = 0;

	kill->invocation = kill->time_ns;
	__builtin_memset(&kill->domain, 0, sizeof(kill->domain));
	if (state) {
		if (!state->invocation)
			state->invocation = kill->time_ns;
		kill->invocation = state->invocation;
		bpf_probe_read_kernel(&kill->domain, sizeof(kill->domain), &state->domain);
		kill->flags |= KILL_HAS_DOMAIN;
		if (state->by_stack)
			kill->flags |= KILL_DOMAIN_BY_STACK;
		memcg = kill->domain.memcg;
		if (memcg)
			kill->flags |= read_memcg(&kill->domain);
	}
	if (victim && is_group(memory_css((struct task_struct *)victim), memcg))
		kill->flags |= KILL_IS_GROUP;
}

/*
 * Awaits the end of the victim's memory; false: it was marked before. Another thread of a process
 * that is killed, or about to exit, may be marked later, and in a group the first one is killed
 * twice.
 */
static __always_inline bool await_exit(const struct oom_victim *victim, struct task_struct *task)
{
	u64 mm = (u64)BPF_CORE_READ(task, signal, oom_mm);
	struct awaited awaited = {
		.process = victim->task.process,
		.start_boottime_ns = victim->task.start_boottime_ns,
	};
	struct awaited *before;

	before = bpf_map_lookup_elem(&victims, &mm);
	if (before && before->process == awaited.process &&
	    before->start_boottime_ns == awaited.start_boottime_ns)
		return false;
	add(&marked, 1);
	if (bpf_map_update_elem(&victims, &mm, &awaited, BPF_ANY))
		add(&lost_reaps, 1);
	return true;
}

static __always_inline int report_victim(void *ctx, u64 argument)
{
	struct task_struct *trigger = current_task(), *victim;
	struct sent *sent = sent_by((u64)trigger);
	struct pt_regs regs = {};
	struct oom_kill *kill;
	u64 receiver = 0;
	u32 zero = 0;
	u64 bytes;

	kill = bpf_map_lookup_elem(&kill_scratch, &zero);
	if (!kill)
		return 0;
	if (sent && sent->sender == (u64)trigger) {
		receiver = sent->receiver;
		sent->sender = 0;
	}
	victim = task_of(argument, receiver);
	kill->kind = EVENT_KILL;
	kill->flags = victim && (u64)victim == receiver ? KILL_SENT : 0;
	kill->time_ns = bpf_ktime_get_ns();
	kill->victim.task.thread = argument;
	kill->victim.task.process = argument;
	if (victim) {
		kill->flags |= KILL_HAS_TASK;
		read_victim(victim, &kill->victim);
		if (!await_exit(&kill->victim, victim))
			return 0;
	}
	read_trigger(kill, trigger, &regs);
	read_domain_of(kill, (u64)victim);
	append_texts(kill, victim, trigger);
	if (wants_stacks)
		send_stacks(ctx, kill, &regs);
	bytes = kill->text_bytes;
	if (bytes > TEXT_BYTES + PIECE_BYTES)
		return 0;
	bytes += sizeof(*kill) - TEXT_BYTES - PIECE_BYTES;
	if (bpf_ringbuf_output(&events, kill, bytes, 0))
		add(&lost_events, 1);
	return 0;
}

#endif
