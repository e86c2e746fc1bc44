/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the OOM killer does. Each victim is marked (oom:mark_victim), whoever asked for memory; a
 * SIGKILL of the kernel's own for the same task, by the same thread, tells a kill from a task that
 * was about to exit. Whose memory ran out is in the argument of oom_kill_process().
 *
 * The OOM killer runs under a lock of its own, one at a time: what one program leaves in a map for
 * the next is not touched by another one.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "atomic.h"
#include "cgroup.bpf.h"
#include "walk.bpf.h"
#include "oomkill.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile u32 wants_stacks = 0;
/* Over so many CPUs counters are summed; 0: they are not. */
const volatile u32 counted_cpus = 0;

#define MAX_CPUS 1024
extern const void __per_cpu_offset __ksym __weak; /* one for each CPU */

/* What was lost; these are rare enough to be counted in one place. */
u64 lost_events = 0; /* the ring buffer was full */
u64 lost_reaps = 0;  /* too many victims at a time: nobody tells when their memory was back */

/* oom_kill_process() itself is probed. */
u32 has_function = 0;
/* Whose processes the iterator names: a memory cgroup's kernfs id; 0: all. */
u64 wanted_cgroup = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); /* when full: loss.events */
} events SEC(".maps");

#include "oomkill/task.bpf.h"
#include "oomkill/domain.bpf.h"
#include "oomkill/stacks.bpf.h"
#include "oomkill/kill.bpf.h"
#include "oomkill/reap.bpf.h"

SEC("raw_tp/signal_generate")
int on_signal(u64 *ctx)
{
	/* int signal, struct kernel_siginfo *, struct task_struct *, bool, int */
	return note_signal(ctx[0], ctx[1], ctx[2]);
}

SEC("fentry/oom_kill_process")
int oom_kill_process_entry(u64 *ctx)
{
	return note_domain((struct oom_control *)ctx[0]);
}

SEC("kprobe/oom_kill_process")
int oom_kill_process_kprobe(struct pt_regs *ctx)
{
	return note_domain((struct oom_control *)REGS_ARG1(ctx));
}

SEC("raw_tp/mark_victim")
int on_mark_victim(u64 *ctx)
{
	return report_victim(ctx, ctx[0]);
}

SEC("raw_tp/finish_task_reaping")
int on_reaped(u64 *ctx)
{
	return report_end(EVENT_REAPED, ctx[0]);
}

SEC("raw_tp/exit_mmap")
int on_unmapped(u64 *ctx)
{
	return report_unmapped(ctx[0]);
}

SEC("raw_tp/sched_process_exit")
int on_exit(u64 *ctx)
{
	return report_exit((struct task_struct *)ctx[0]);
}

SEC("iter/task")
int list_processes(struct bpf_iter__task *ctx)
{
	return list_process(ctx);
}
