/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whose program runs: the target, its image, and what can be read of its thread. */
#ifndef MEMTOOLS_TASK_BPF_H
#define MEMTOOLS_TASK_BPF_H

#include "current.bpf.h"

/* ---- what user space sets while it runs ---- */

u32 enabled = 0;
u32 generation = 0; /* counts the images: each exec begins a new one */
u64 epoch = 0;	    /* counts the reuses of text addresses by other files */
u64 trampoline = 0; /* where the process's return probes land; 0: not asked yet */

static __always_inline bool is_target(u64 task)
{
	return enabled && task >> 32 == target_process;
}

static __always_inline u64 read_user_word(u64 address)
{
	u64 word = 0;

	bpf_probe_read_user(&word, sizeof(word), (const void *)address);
	return word;
}

/* Whether a return slot still leads to the trampoline. */
static __always_inline bool is_return_pending(u64 return_slot)
{
#if defined(__TARGET_ARCH_x86)
	if (!trampoline) {
		struct task_struct *task = (void *)bpf_get_current_task();

		trampoline = BPF_CORE_READ(task, mm, uprobes_state.xol_area, vaddr);
	}
	return read_user_word(return_slot) == trampoline;
#else
	/* The return address is in a register, or wherever the function has put it. */
	return true;
#endif
}

static __always_inline u64 return_address(struct pt_regs *ctx)
{
#if defined(__TARGET_ARCH_x86)
	return read_user_word(REGS_SP(ctx));
#else
	return REGS_LINK(ctx);
#endif
}

/* For an exec: of the old image nothing is left, its return probes neither. */
static __always_inline void begin_image(void)
{
	/* A process executes one image at a time: nobody else adds. */
	generation++;
	trampoline = 0;
}

#endif
