/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Programs that only count, one for each way to attach a probe: to find out which ways work on
 * this kernel, what a hit costs on this machine, and as the floor in benchmarks.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "atomic.h"
#include "session.bpf.h"
#include "task.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

u64 entries = 0;
u64 returns = 0;

/*
 * A return probe of a perf event sees every process that has one there (5.10): another copy of the
 * tool that tests itself, too.
 */
static __always_inline int count(u64 *counter)
{
	if (current_task() >> 32 == target_process)
		add(counter, 1);
	return 0;
}

SEC("uprobe")
int count_entry(struct pt_regs *ctx)
{
	return count(&entries);
}

SEC("uretprobe")
int count_return(struct pt_regs *ctx)
{
	return count(&returns);
}

SEC("uprobe.session")
int count_session(struct pt_regs *ctx)
{
	return count(is_session_return(ctx) ? &returns : &entries);
}

/* How long a function seems to take that does nothing. */
#define TIMES 256

u64 since = 0;
u64 ended = 0;
u64 times[TIMES] = {};

static __always_inline int end(u64 now)
{
	if (current_task() >> 32 == target_process) {
		times[ended & (TIMES - 1)] = now - since;
		ended++;
	}
	return 0;
}

static __always_inline int begin(void)
{
	if (current_task() >> 32 == target_process)
		since = bpf_ktime_get_ns();
	return 0;
}

SEC("uprobe")
int time_entry(struct pt_regs *ctx)
{
	return begin();
}

SEC("uretprobe")
int time_return(struct pt_regs *ctx)
{
	return end(bpf_ktime_get_ns());
}

/* An instruction by which a function ends. */
SEC("uprobe")
int time_left(struct pt_regs *ctx)
{
	return end(bpf_ktime_get_ns());
}

SEC("uprobe.session")
int time_session(struct pt_regs *ctx)
{
	u64 now = bpf_ktime_get_ns();

	return is_session_return(ctx) ? end(now) : begin();
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
