/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Programs that count getpgid calls of this process, one for each way to learn of an event in the
 * kernel: to find out which ways work here, and which of them lose events.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "atomic.h"
#include "task.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile u64 wanted_call = 0;

u64 hits = 0;

#if defined(__TARGET_ARCH_x86)
#define GETPGID "__x64_sys_getpgid"
#else
#define GETPGID "__arm64_sys_getpgid"
#endif

/* Most of what the threads do, so that it is here that they are preempted. */
#define PACES 64

static __always_inline int count(void)
{
	u32 i;

	if (current_task() >> 32 != target_process)
		return 0;
	for (i = 0; i < PACES; i++)
		bpf_get_prandom_u32();
	add(&hits, 1);
	return 0;
}

/* Both have the registers first, then the number of the call. */
SEC("tp_btf/sys_enter")
int count_btf_tracepoint(u64 *ctx)
{
	return ctx[1] == wanted_call ? count() : 0;
}

SEC("raw_tp/sys_enter")
int count_raw_tracepoint(u64 *ctx)
{
	return ctx[1] == wanted_call ? count() : 0;
}

struct sys_enter_record {
	u64 common;
	u64 call;
};

SEC("tracepoint/raw_syscalls/sys_enter")
int count_tracepoint(struct sys_enter_record *ctx)
{
	return ctx->call == wanted_call ? count() : 0;
}

SEC("fentry/" GETPGID)
int count_fentry(void *ctx)
{
	return count();
}

SEC("kprobe.multi/" GETPGID)
int count_kprobe_multi(void *ctx)
{
	return count();
}

SEC("kprobe/" GETPGID)
int count_kprobe(void *ctx)
{
	return count();
}
