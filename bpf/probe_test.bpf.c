/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Programs that only count, one for each way to attach a probe: to find out which ways work on
 * this kernel, what a hit costs on this machine, and as the floor in benchmarks.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include "session.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

u64 entries = 0;
u64 returns = 0;

SEC("uprobe")
int count_entry(struct pt_regs *ctx)
{
	__sync_fetch_and_add(&entries, 1);
	return 0;
}

SEC("uretprobe")
int count_return(struct pt_regs *ctx)
{
	__sync_fetch_and_add(&returns, 1);
	return 0;
}

SEC("uprobe.session")
int count_session(struct pt_regs *ctx)
{
	if (is_session_return(ctx))
		__sync_fetch_and_add(&returns, 1);
	else
		__sync_fetch_and_add(&entries, 1);
	return 0;
}

SEC("uprobe")
int empty_entry(struct pt_regs *ctx)
{
	return 0;
}

SEC("uretprobe")
int empty_return(struct pt_regs *ctx)
{
	return 0;
}
