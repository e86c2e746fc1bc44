/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is counted of each call: per CPU, so that no CPU waits for another. */
#ifndef SYSCOUNT_COUNTS_BPF_H
#define SYSCOUNT_COUNTS_BPF_H

#include "histogram.h"

/* Counts the intervals; user space sets it. */
u32 interval = 0;

/*
 * An element for each CPU: calls of everybody whose number is small. User space reads in place: a
 * system call that reads a map keeps classic tracepoints from being seen on its CPU meanwhile.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* user space sets it: as many as there are CPUs */
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct call_table);
} calls SEC(".maps");

/* All others. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16384); /* user space sets it; when full: loss.rows */
	__type(key, struct call_key);
	__type(value, struct call_stats);
} rows SEC(".maps");

/* How often a call took about so long, or failed in such a way. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 32768); /* user space sets it; when full: loss.cells */
	__type(key, struct cell_key);
	__type(value, u64);
} cells SEC(".maps");

/* What processes and threads with rows were called last. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384); /* as rows */
	__type(key, u64);
	__type(value, struct owner_name);
} names SEC(".maps");

static __always_inline u64 owner_of(u64 task)
{
	switch (by) {
	case BY_PROCESS:
		return task >> 32;
	case BY_THREAD:
		return (u32)task;
	case BY_CGROUP:
		return BPF_CORE_READ(cgroup_of((void *)bpf_get_current_task()), cgroup, kn, id);
	default:
		return 0;
	}
}

static __always_inline void name_owner(u64 owner)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct owner_name name = {};

	if (by == BY_PROCESS)
		BPF_CORE_READ_INTO(&name.text, task, group_leader, comm);
	else
		BPF_CORE_READ_INTO(&name.text, task, comm);
	bpf_map_update_elem(&names, &owner, &name, BPF_ANY);
}

static __noinline struct call_stats *begin_row(struct call_key *key)
{
	struct call_stats none = {};

	if (!key)
		return NULL;
	if (by == BY_PROCESS || by == BY_THREAD)
		name_owner(key->owner);
	bpf_map_update_elem(&rows, key, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&rows, key);
}

/* NULL: there is no room. */
static __always_inline struct call_stats *stats_of(struct call_key *key)
{
	struct call_stats *stats;
	u32 slot = key->abi * CALLS_PER_ABI + key->call;
	u32 cpu = bpf_get_smp_processor_id();
	struct call_table *own;

	if (by == BY_CALL && key->call < CALLS_PER_ABI && slot < CALL_SLOTS) {
		own = bpf_map_lookup_elem(&calls, &cpu);
		if (!own)
			return NULL;
		/* Else the compiler computes the place before it is known that there is one. */
		asm volatile("" : "+r"(own));
		return &own->calls[slot];
	}
	stats = bpf_map_lookup_elem(&rows, key);
	return stats ?: begin_row(key);
}

static __always_inline void count_cell(const struct call_key *key, u32 cell)
{
	struct cell_key at = {
		.owner = key->owner,
		.call = key->call,
		.abi = key->abi,
		.cell = cell,
	};
	u64 *count = bpf_map_lookup_elem(&cells, &at);
	u64 none = 0;

	if (!count) {
		bpf_map_update_elem(&cells, &at, &none, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&cells, &at);
	}
	if (count)
		add(count, 1);
	else
		COUNT(counters, LOST_CELLS);
}

static __always_inline void count_time(struct call_stats *stats, u64 ns)
{
	u32 now = READ_ONCE(interval);
	u32 half = now & 1;

	add(&stats->ended, 1);
	add(&stats->total_ns, ns);
	if (stats->interval[half] != now) {
		stats->interval[half] = now;
		stats->max_ns[half] = ns;
	} else if (stats->max_ns[half] < ns) {
		stats->max_ns[half] = ns;
	}
}

#endif
