/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Programs that only count, one for each way to attach a probe: to find out which ways work on
 * this kernel, what a hit costs on this machine, and as the floor in benchmarks.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

u64 entries = 0;
u64 returns = 0;

extern bool bpf_session_is_return___plain(void) __ksym __weak;
extern bool bpf_session_is_return___ctx(void *ctx) __ksym __weak;

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
	bool is_return = false;

	if (bpf_ksym_exists(bpf_session_is_return___ctx))
		is_return = bpf_session_is_return___ctx(ctx);
	else if (bpf_ksym_exists(bpf_session_is_return___plain))
		is_return = bpf_session_is_return___plain();
	if (is_return)
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
