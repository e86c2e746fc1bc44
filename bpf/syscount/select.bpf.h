/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whose calls count. */
#ifndef SYSCOUNT_SELECT_BPF_H
#define SYSCOUNT_SELECT_BPF_H

/* In the namespace of target_process; 0: any. */
const volatile u32 target_thread = 0;
/* This tool, whose own calls do not count. */
const volatile u32 own_process = 0;
/* In the initial PID namespace; 0: any. */
const volatile u32 target_parent = 0;
const volatile u32 has_wanted_comm = 0;
const volatile char wanted_comm[COMM_BYTES] = {};
/* Children of whoever counts do so as well. */
const volatile u32 follows = 0;

/* A command of our own is to be counted from its exec on: these two calls begin one. */
const volatile u32 exec_calls[2] = {};
u32 waits_for_exec = 0;
/* All programs are there. */
u32 enabled = 0;

/* One bit for each of the calls that count, if not all do. */
const volatile u32 has_wanted_calls = 0;
const volatile u64 wanted_calls[CALL_SLOTS / 64] = {};
/* Those that have no place there: table above, number below; 0: none more. */
const volatile u64 wanted_odd_calls[MAX_ODD_CALLS] = {};

/* Processes that descend from those that count, by PID in the initial namespace. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536); /* when full: loss.children */
	__type(key, u32);
	__type(value, u32);
} family SEC(".maps");

static __always_inline bool has_wanted_parent(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, real_parent, tgid) == target_parent;
}

static __always_inline bool is_called_as_wanted(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	char comm[COMM_BYTES] = {};
	u32 i;

	BPF_CORE_READ_INTO(&comm, task, group_leader, comm);
	for (i = 0; i < COMM_BYTES; i++) {
		if (comm[i] != wanted_comm[i])
			return false;
		if (!comm[i])
			break;
	}
	return true;
}

/* `task`: what current_task() says. */
static __always_inline bool is_wanted(u64 task)
{
	u32 process;

	if (follows) {
		process = bpf_get_current_pid_tgid() >> 32;
		if (bpf_map_lookup_elem(&family, &process))
			return true;
	}
	/* It has no number in our namespace: it is in none of ours. */
	if (pid_namespace_inode && !task)
		return false;
	if (target_process ? task >> 32 != target_process : task >> 32 == own_process)
		return false;
	if (target_thread && (u32)task != target_thread)
		return false;
	if (target_parent && !has_wanted_parent())
		return false;
	if (has_wanted_comm && !is_called_as_wanted())
		return false;
	return is_in_wanted_cgroup();
}

static __always_inline bool is_wanted_call(const struct call_key *key)
{
	u32 slot = key->abi * CALLS_PER_ABI + key->call;
	u64 odd = (u64)key->abi << 32 | key->call;
	u32 i;

	if (!has_wanted_calls)
		return true;
	if (key->call < CALLS_PER_ABI && slot < CALL_SLOTS)
		return wanted_calls[slot / 64] >> (slot % 64) & 1;
	for (i = 0; i < MAX_ODD_CALLS; i++)
		if (wanted_odd_calls[i] && wanted_odd_calls[i] == odd)
			return true;
	return false;
}

/* A thread, or the first one of a process, is made, and does not run yet. */
static __always_inline void join_family(u32 thread, u64 clone_flags)
{
	u32 one = 1;

	if (clone_flags & CLONE_THREAD || !is_wanted(current_task()))
		return;
	if (bpf_map_update_elem(&family, &thread, &one, BPF_ANY))
		COUNT(counters, LOST_FAMILY);
}

/* The running thread ends; with the last one its process does. */
static __always_inline void leave_family(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	u32 process = bpf_get_current_pid_tgid() >> 32;

	if (BPF_CORE_READ(task, signal, live.counter) == 0)
		bpf_map_delete_elem(&family, &process);
}

#endif
