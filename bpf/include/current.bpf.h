/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which thread runs, and of which process, in the PID namespace that user space speaks of. */
#ifndef MEMTOOLS_CURRENT_BPF_H
#define MEMTOOLS_CURRENT_BPF_H

/* Who is loaded before it is known whom it is for defines TARGET_COMES_LATER. */
#ifdef TARGET_COMES_LATER
u32 target_process = 0;
#else
const volatile u32 target_process = 0;
#endif
const volatile u64 pid_namespace_device = 0; /* 0: the initial namespace */
const volatile u64 pid_namespace_inode = 0;

/* The process above, the thread below; 0 if it has no number in that namespace. */
static __always_inline u64 current_task(void)
{
	struct bpf_pidns_info ids = {};

	if (!pid_namespace_inode)
		return bpf_get_current_pid_tgid();
	if (bpf_get_ns_current_pid_tgid(pid_namespace_device, pid_namespace_inode, &ids,
					sizeof(ids)))
		return 0;
	return (u64)ids.tgid << 32 | ids.pid;
}

#endif
