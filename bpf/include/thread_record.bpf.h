/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is remembered of each thread: in the task itself where the kernel lets such programs have
 * task storage, else in a table by TID. A record has no more than 8 KiB: task storage refuses
 * larger ones on 7.2.
 *
 * Task storage is refused to a thread while another one has been preempted inside of it on the same
 * CPU (one guard for each CPU, before 6.19): such a thread has its
 * record in the table, as long as it lives.
 */
#ifndef MEMTOOLS_THREAD_RECORD_BPF_H
#define MEMTOOLS_THREAD_RECORD_BPF_H

#include "atomic.h"

/* Whether records are kept in the tasks themselves (task storage in such programs: 5.12). */
const volatile u32 has_task_storage = 0;
/* Records that are in tables. */
u64 tabled_records = 0;

enum {
	/* On each CPU the idle task has the number 0. */
	IDLE_THREAD = 1U << 31,
};

static __always_inline u32 this_thread(void)
{
	u32 thread = bpf_get_current_pid_tgid();

	return thread ?: IDLE_THREAD | bpf_get_smp_processor_id();
}

/* What a thread does after its end was told of would leave a record behind for good. */
static __always_inline bool is_exiting(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, flags) & PF_EXITING;
}

/*
 * Records of a type whose zeros are a beginning: `own_NAME()` is the running thread's, or NULL
 * where there is no room, `known_NAME()` the same without making one, `NAME_of()` that of any task.
 * `end_NAME()` forgets the running thread's where it would outlive the thread, and `rename_NAME()`
 * is for an exec: the thread that executes a program becomes its process's first one, with that
 * one's TID.
 */
#define THREAD_RECORDS(NAME, TYPE)                                                                 \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_TASK_STORAGE);                                           \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                              \
		__type(key, int);                                                                  \
		__type(value, TYPE);                                                               \
	} NAME SEC(".maps");                                                                       \
                                                                                                   \
	/* User space sets its size; when full: a thread has no record. */                         \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_HASH);                                                   \
		__uint(max_entries, 65536);                                                        \
		__type(key, u32);                                                                  \
		__type(value, TYPE);                                                               \
	} NAME##_by_thread SEC(".maps");                                                           \
                                                                                                   \
	static const TYPE new_##NAME;                                                              \
                                                                                                   \
	static __always_inline TYPE *tabled_##NAME(u32 thread)                                     \
	{                                                                                          \
		if (!READ_ONCE(tabled_records))                                                    \
			return NULL;                                                               \
		return bpf_map_lookup_elem(&NAME##_by_thread, &thread);                            \
	}                                                                                          \
                                                                                                   \
	static __always_inline TYPE *begin_##NAME(u32 thread)                                      \
	{                                                                                          \
		if (is_exiting())                                                                  \
			return NULL;                                                               \
		if (!bpf_map_update_elem(&NAME##_by_thread, &thread, &new_##NAME, BPF_NOEXIST))    \
			add(&tabled_records, 1);                                                   \
		return bpf_map_lookup_elem(&NAME##_by_thread, &thread);                            \
	}                                                                                          \
                                                                                                   \
	static __always_inline TYPE *known_##NAME(void)                                            \
	{                                                                                          \
		TYPE *__own = tabled_##NAME(this_thread());                                        \
                                                                                                   \
		if (has_task_storage && !__own)                                                    \
			__own = bpf_task_storage_get(&NAME, bpf_get_current_task_btf(), 0, 0);     \
		return __own;                                                                      \
	}                                                                                          \
                                                                                                   \
	static __always_inline TYPE *own_##NAME(void)                                              \
	{                                                                                          \
		u32 thread = this_thread();                                                        \
		TYPE *__own = tabled_##NAME(thread);                                               \
                                                                                                   \
		if (has_task_storage && !__own)                                                    \
			__own = bpf_task_storage_get(&NAME, bpf_get_current_task_btf(), 0,         \
						     BPF_LOCAL_STORAGE_GET_F_CREATE);              \
		return __own ?: begin_##NAME(thread);                                              \
	}                                                                                          \
                                                                                                   \
	static __always_inline TYPE *NAME##_of(struct task_struct *task)                           \
	{                                                                                          \
		TYPE *__own = tabled_##NAME(task->pid);                                            \
                                                                                                   \
		if (has_task_storage && !__own)                                                    \
			__own = bpf_task_storage_get(&NAME, task, 0, 0);                           \
		return __own;                                                                      \
	}                                                                                          \
                                                                                                   \
	static __always_inline void end_##NAME(void)                                               \
	{                                                                                          \
		u32 thread = this_thread();                                                        \
                                                                                                   \
		if (READ_ONCE(tabled_records) && !bpf_map_delete_elem(&NAME##_by_thread, &thread)) \
			add(&tabled_records, -1);                                                  \
	}                                                                                          \
                                                                                                   \
	static __always_inline void rename_##NAME(u32 before)                                      \
	{                                                                                          \
		u32 thread = this_thread();                                                        \
		TYPE *__own;                                                                       \
                                                                                                   \
		if (before == thread)                                                              \
			return;                                                                    \
		end_##NAME();                                                                      \
		__own = tabled_##NAME(before);                                                     \
		if (!__own)                                                                        \
			return;                                                                    \
		bpf_map_update_elem(&NAME##_by_thread, &thread, __own, BPF_ANY);                   \
		bpf_map_delete_elem(&NAME##_by_thread, &before);                                   \
	}

#endif
