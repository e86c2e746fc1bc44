/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Everything that the suite reads of the kernel stands here: types, constants and fields, with the
 * kernel version beside each thing that is not there on all of them (5.10 is the oldest).
 */
#ifndef MEMTOOLS_KERNEL_H
#define MEMTOOLS_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

typedef __u8 u8;
typedef __u32 u32;
typedef __u64 u64;
typedef __s64 s64;
typedef _Bool bool;

enum {
	false,
	true,
};

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_QUEUE = 22,
	BPF_MAP_TYPE_RINGBUF = 27, /* 5.8 */
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_EXIST = 2,
};

enum {
	BPF_F_MMAPABLE = 1U << 10, /* 5.5 */
};

enum {
	BPF_RB_NO_WAKEUP = 1U << 0,
	BPF_RB_FORCE_WAKEUP = 1U << 1,
};

enum {
	BPF_RB_AVAIL_DATA = 0,
};

/* Filled by bpf_get_ns_current_pid_tgid. */
struct bpf_pidns_info {
	__u32 pid;
	__u32 tgid;
};

enum {
	EEXIST = 17,
};

/*
 * Where the return probes of a process land: mm->uprobes_state.xol_area->vaddr, on every kernel.
 * The area is made with the first probe that needs it.
 */
struct xol_area {
	unsigned long vaddr;
} __attribute__((preserve_access_index));

struct uprobes_state {
	struct xol_area *xol_area;
} __attribute__((preserve_access_index));

struct mm_struct {
	struct uprobes_state uprobes_state;
} __attribute__((preserve_access_index));

struct task_struct {
	struct mm_struct *mm;
} __attribute__((preserve_access_index));

/* The registers a uprobe program is handed: user-space ABI, the same on every kernel. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15;
	unsigned long r14;
	unsigned long r13;
	unsigned long r12;
	unsigned long bp;
	unsigned long bx;
	unsigned long r11;
	unsigned long r10;
	unsigned long r9;
	unsigned long r8;
	unsigned long ax;
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
	unsigned long ip;
	unsigned long cs;
	unsigned long flags;
	unsigned long sp;
	unsigned long ss;
};

#define REGS_ARG1(ctx)	 ((ctx)->di)
#define REGS_ARG2(ctx)	 ((ctx)->si)
#define REGS_ARG3(ctx)	 ((ctx)->dx)
#define REGS_ARG4(ctx)	 ((ctx)->cx)
#define REGS_RESULT(ctx) ((ctx)->ax)
#define REGS_IP(ctx)	 ((ctx)->ip)
#define REGS_SP(ctx)	 ((ctx)->sp)
#define REGS_FP(ctx)	 ((ctx)->bp)
/* `call` pushes the return address: the stack pointer is this much higher after the return. */
#define RETURN_SLOT 8
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	u64 regs[31];
	u64 sp;
	u64 pc;
	u64 pstate;
};

#define REGS_ARG1(ctx)	 ((ctx)->regs[0])
#define REGS_ARG2(ctx)	 ((ctx)->regs[1])
#define REGS_ARG3(ctx)	 ((ctx)->regs[2])
#define REGS_ARG4(ctx)	 ((ctx)->regs[3])
#define REGS_RESULT(ctx) ((ctx)->regs[0])
#define REGS_IP(ctx)	 ((ctx)->pc)
#define REGS_SP(ctx)	 ((ctx)->sp)
#define REGS_FP(ctx)	 ((ctx)->regs[29])
#define REGS_LINK(ctx)	 ((ctx)->regs[30])
#define RETURN_SLOT	 0
#else
#error "memtools knows x86-64 and arm64"
#endif

/*
 * Flavours: what has another form on another kernel. Where one is used it stands behind
 * WITHOUT_ and its name, so that `cargo xtask mutate-flavours` can leave it out and show which
 * test misses it.
 *
 *	SESSION_IS_RETURN_PLAIN		6.13 to 6.19
 *	SESSION_IS_RETURN_CTX		from 7.0 on
 *	OWN_STACK			from 6.13 on, where the kernel can be preempted
 */

#endif
