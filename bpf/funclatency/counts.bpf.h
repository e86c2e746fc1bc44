/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is counted of each function, and of what its calls are split by. */
#ifndef FUNCLATENCY_COUNTS_BPF_H
#define FUNCLATENCY_COUNTS_BPF_H

/* enum split */
const volatile u32 split = SPLIT_NONE;
/* So many elements has a function in `functions`, a power of two, less one: CPUs share them. */
const volatile u32 stripe_mask = 0;

/* What is shown in powers of two, in nanoseconds. */
const volatile u64 unit_ns = 1;

/* Counts the intervals; user space sets it. */
u32 interval = 0;

/*
 * Function by function, and of each its stripes. User space reads in place, and takes differences:
 * nothing is ever cleared.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* user space sets it */
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct function_stats);
} functions SEC(".maps");

/* By --split: a row for each of a function's keys, */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16384); /* user space sets it; when full: loss.rows */
	__type(key, struct split_key);
	__type(value, struct split_stats);
} rows SEC(".maps");

/* and how often a call of it took about so long. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 65536); /* user space sets it; when full: loss.cells */
	__type(key, struct split_key);
	__type(value, u64);
} cells SEC(".maps");

/* What processes and threads with rows were called last. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384); /* as rows */
	__type(key, u64);
	__type(value, struct split_name);
} names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FUNCTION_COUNTERS);
	__type(key, u32);
	__type(value, u64);
} counters SEC(".maps");

static __always_inline struct function_stats *stats_of(u32 function)
{
	u32 stripe = bpf_get_smp_processor_id() & stripe_mask;
	u32 index = function * (stripe_mask + 1) + stripe;

	return bpf_map_lookup_elem(&functions, &index);
}

/* The extremes of an interval; both places are of the same one. */
#define COUNT_TIME(stats, ns)                                                                      \
	do {                                                                                       \
		u32 __now = READ_ONCE(interval), __half = __now & 1;                               \
		add(&(stats)->ended, 1);                                                           \
		add(&(stats)->total_ns, ns);                                                       \
		if ((stats)->interval[__half] != __now || !(stats)->min_ns[__half]) {              \
			(stats)->interval[__half] = __now;                                         \
			(stats)->max_ns[__half] = ns;                                              \
			(stats)->min_ns[__half] = (ns) ?: 1;                                       \
		} else if ((stats)->max_ns[__half] < (ns)) {                                       \
			(stats)->max_ns[__half] = ns;                                              \
		} else if ((stats)->min_ns[__half] > (ns)) {                                       \
			(stats)->min_ns[__half] = (ns) ?: 1;                                       \
		}                                                                                  \
	} while (0)

static __always_inline u64 hash_comm(const struct split_name *name)
{
	return hash_frame(hash_frame(1, *(u64 *)&name->text[0]), *(u64 *)&name->text[8]);
}

static __noinline u64 split_of(u64 result, struct split_name *name)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	if (!name)
		return 0;
	switch (split) {
	case SPLIT_PROCESS:
		BPF_CORE_READ_INTO(&name->text, task, group_leader, comm);
		return current_task() >> 32;
	case SPLIT_THREAD:
		bpf_get_current_comm(name->text, sizeof(name->text));
		return (u32)current_task();
	case SPLIT_COMM:
		bpf_get_current_comm(name->text, sizeof(name->text));
		return hash_comm(name);
	case SPLIT_CGROUP:
		return BPF_CORE_READ(cgroup_of(task), cgroup, kn, id);
	case SPLIT_CPU:
		return bpf_get_smp_processor_id();
	default:
		return result;
	}
}

static __always_inline struct split_stats *begin_row(struct split_key *key, struct split_name *name)
{
	struct split_stats none = {};

	if (split == SPLIT_PROCESS || split == SPLIT_THREAD || split == SPLIT_COMM)
		bpf_map_update_elem(&names, &key->key, name, BPF_ANY);
	bpf_map_update_elem(&rows, key, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&rows, key);
}

static __always_inline u32 row_of(u64 ns)
{
	return log2_of(ns / unit_ns) & (LATENCY_ROWS - 1);
}

static __always_inline void count_cell(const struct split_key *key)
{
	u64 *count = bpf_map_lookup_elem(&cells, key), none = 0;

	if (!count) {
		bpf_map_update_elem(&cells, key, &none, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&cells, key);
	}
	if (count)
		add(count, 1);
	else
		COUNT(counters, LOST_CELLS);
}

static __noinline void count_split(u32 function, u64 ns, u64 result)
{
	struct split_key key = {.function = function};
	struct split_name name = {};
	struct split_stats *stats;

	key.key = split_of(result, &name);
	stats = bpf_map_lookup_elem(&rows, &key) ?: begin_row(&key, &name);
	if (!stats) {
		COUNT(counters, LOST_ROWS);
		return;
	}
	COUNT_TIME(stats, ns);
	key.slot = histogram_slot(ns);
	count_cell(&key);
	key.slot = FIRST_ROW + row_of(ns);
	count_cell(&key);
}

static __always_inline void count_call(struct function_stats *stats, u64 ns)
{
	u32 slot = histogram_slot(ns);

	COUNT_TIME(stats, ns);
	if (slot < HISTOGRAM_SLOTS)
		add(&stats->slots[slot], 1);
	add(&stats->rows[row_of(ns)], 1);
}

#endif
