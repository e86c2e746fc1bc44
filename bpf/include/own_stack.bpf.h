/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A frame of 64 bytes or more is laid not on the thread's stack but on one that the program has on
 * each CPU (6.13): nothing is thought to run it there twice at once. Uprobe programs can be
 * preempted, and then another thread's run writes over the frame. A program with a tail call is
 * left on the thread's stack, also if the call is never taken.
 */
#ifndef MEMTOOLS_OWN_STACK_BPF_H
#define MEMTOOLS_OWN_STACK_BPF_H

/* The verifier knows it, and takes the call out again. */
const volatile u32 takes_tail_call = 0;

/* Always empty. The programs that use one are of one attach type (6.18). */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} no_probe SEC(".maps"), no_session SEC(".maps");

/* The first thing that a uprobe program does. */
#ifndef WITHOUT_OWN_STACK
#define STAY_ON_OWN_STACK(ctx, none)                                                               \
	do {                                                                                       \
		if (takes_tail_call)                                                               \
			bpf_tail_call(ctx, &none, 0);                                              \
	} while (0)
#else
#define STAY_ON_OWN_STACK(ctx, none)
#endif

#endif
