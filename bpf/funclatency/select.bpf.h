/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whose calls count. */
#ifndef FUNCLATENCY_SELECT_BPF_H
#define FUNCLATENCY_SELECT_BPF_H

/* In the namespace of target_process; 0: any. */
const volatile u32 target_thread = 0;
/* This tool, whose own calls do not count; 0: they do. */
const volatile u32 own_process = 0;
/* All programs are there. */
u32 enabled = 0;

/* `task`: what current_task() says. */
static __always_inline bool is_wanted(u64 task)
{
	/* It has no number in our namespace: it is in none of ours. */
	if (pid_namespace_inode && !task)
		return false;
	if (target_process ? task >> 32 != target_process : task >> 32 == own_process)
		return false;
	if (target_thread && (u32)task != target_thread)
		return false;
	return is_in_wanted_cgroup();
}

#endif
