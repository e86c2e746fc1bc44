/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whose events count: all, or those that happen while a process, or one of a cgroup, runs. */
#ifndef MEMTOOLS_SELECT_BPF_H
#define MEMTOOLS_SELECT_BPF_H

/* A kernfs id; 0: all. */
const volatile u64 wanted_cgroup = 0;
/* It, and that of a task, is one of the memory controller of version 1. */
const volatile u32 wants_memory_cgroup = 0;

static __always_inline struct cgroup_subsys_state *cgroup_of(struct task_struct *task)
{
	return wants_memory_cgroup ? memory_css(task) : unified_css(task);
}

static __always_inline bool is_in_wanted_cgroup(void)
{
	return !wanted_cgroup ||
	       is_within(cgroup_of((void *)bpf_get_current_task()), wanted_cgroup);
}

static __always_inline bool is_wanted_process(void)
{
	return !target_process || current_task() >> 32 == target_process;
}

#endif
