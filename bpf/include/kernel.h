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
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
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
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_QUEUE = 22,
	BPF_MAP_TYPE_RINGBUF = 27,	/* 5.8 */
	BPF_MAP_TYPE_TASK_STORAGE = 29, /* 5.11 */
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_EXIST = 2,
};

enum {
	BPF_F_NO_PREALLOC = 1U << 0,
	BPF_F_MMAPABLE = 1U << 10, /* 5.5 */
};

enum {
	BPF_LOCAL_STORAGE_GET_F_CREATE = 1U << 0,
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
	ENOENT = 2,
	EINTR = 4,
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

typedef struct {
	s64 counter;
} atomic_long_t;

typedef struct {
	int counter;
} atomic_t;

enum {
	MM_FILEPAGES,
	MM_ANONPAGES,
	MM_SWAPENTS,
	MM_SHMEMPAGES,
	NR_MM_COUNTERS,
};

struct percpu_counter {
	s64 count;     /* without what single CPUs have */
	s32 *counters; /* that, per CPU */
} __attribute__((preserve_access_index));

struct mm_struct {
	struct uprobes_state uprobes_state;
	struct percpu_counter rss_stat[NR_MM_COUNTERS]; /* 6.2 */
	unsigned long total_vm;
	atomic_long_t pgtables_bytes;
	unsigned long arg_start;
	unsigned long arg_end;
} __attribute__((preserve_access_index));

/* RSS_STAT_COUNT: before 6.2. */
struct mm_rss_stat {
	atomic_long_t count[NR_MM_COUNTERS];
} __attribute__((preserve_access_index));

struct mm_struct___count {
	struct mm_rss_stat rss_stat;
} __attribute__((preserve_access_index));

struct signal_struct {
	atomic_t live;
	short oom_score_adj;
	struct mm_struct *oom_mm;
} __attribute__((preserve_access_index));

typedef struct {
	u32 val;
} kuid_t;

struct cred {
	kuid_t uid;
} __attribute__((preserve_access_index));

struct kernfs_node {
	struct kernfs_node *__parent; /* 6.15 */
	const char *name;
	u64 id;
} __attribute__((preserve_access_index));

/* KERNFS_PARENT: before 6.15. */
struct kernfs_node___plain {
	struct kernfs_node *parent;
} __attribute__((preserve_access_index));

struct cgroup_root {
	int hierarchy_id; /* 0: version 2 */
} __attribute__((preserve_access_index));

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
} __attribute__((preserve_access_index));

struct cgroup {
	struct cgroup_subsys_state self; /* for the hierarchy itself */
	struct kernfs_node *kn;
	struct cgroup_root *root;
} __attribute__((preserve_access_index));

enum cgroup_subsys_id {
	memory_cgrp_id = 4, /* what it is depends on the kernel's configuration */
};

struct css_set {
	struct cgroup_subsys_state *subsys[1]; /* more: by cgroup_subsys_id */
	struct cgroup *dfl_cgrp;
} __attribute__((preserve_access_index));

struct page_counter {
	atomic_long_t usage;
	unsigned long failcnt;
	unsigned long watermark;
	unsigned long max;
} __attribute__((preserve_access_index));

/* TRACK_FAILCNT: from 6.18 on failures are counted in version 1 only. */
struct page_counter___track {
	bool track_failcnt;
} __attribute__((preserve_access_index));

struct mem_cgroup {
	struct cgroup_subsys_state css;
	struct page_counter memory;
	union {
		struct page_counter swap;  /* version 2 */
		struct page_counter memsw; /* version 1: memory and swap */
	};
	bool oom_group;
} __attribute__((preserve_access_index));

/* What the OOM killer is asked for; oc of out_of_memory(). */
enum oom_constraint {
	CONSTRAINT_NONE,
	CONSTRAINT_CPUSET,
	CONSTRAINT_MEMORY_POLICY,
	CONSTRAINT_MEMCG,
};

struct oom_control {
	void *zonelist;
	void *nodemask;
	struct mem_cgroup *memcg;
	u32 gfp_mask;
	int order;
	unsigned long totalpages;
	struct task_struct *chosen;
	long chosen_points;
	enum oom_constraint constraint;
} __attribute__((preserve_access_index));

struct list_head {
	struct list_head *next;
	struct list_head *prev;
} __attribute__((preserve_access_index));

/* The objects of a slab, and the order of its pages, in one word. */
struct kmem_cache_order_objects {
	unsigned int x;
} __attribute__((preserve_access_index));

/* What a cache has on one NUMA node; the last two with CONFIG_SLUB_DEBUG only. */
struct kmem_cache_node {
	unsigned long nr_partial;
	struct list_head partial;
	atomic_long_t nr_slabs;
	atomic_long_t total_objects;
} __attribute__((preserve_access_index));

struct kmem_cache {
	const char *name;
	unsigned int size; /* bytes that an object takes */
	struct kmem_cache_order_objects oo;
	struct kmem_cache_node *node[1]; /* 7.2 has it no more; more: nr_node_ids */
} __attribute__((preserve_access_index));

/* PER_NODE: 7.2 */
struct kmem_cache_per_node_ptrs {
	void *barn;
	struct kmem_cache_node *node;
} __attribute__((preserve_access_index));

struct kmem_cache___per_node {
	struct kmem_cache_per_node_ptrs per_node[1];
} __attribute__((preserve_access_index));

/* A slab; it lies over its first page (5.17). */
struct slab {
	struct kmem_cache *slab_cache;
	struct list_head slab_list;
	unsigned int inuse : 16;
	unsigned int objects : 15;
} __attribute__((preserve_access_index));

struct page {
	unsigned long flags;
	unsigned long compound_head; /* bit 0: the page before it that is the head; before 7.0 */
	unsigned int page_type;
} __attribute__((preserve_access_index));

/* SLAB_IN_PAGE: before 5.17. */
struct page___slab {
	struct kmem_cache *slab_cache;
} __attribute__((preserve_access_index));

/* A page is one of a slab: before 6.10 by this bit of its flags, */
enum pageflags {
	PG_slab = 9, /* what it is depends on the kernel's configuration */
};

/* and from 6.12 on by the highest byte of its type. */
enum pagetype {
	PGTY_slab = 0xf5,
};

/* A kernel stack. */
union thread_union {
	unsigned long stack[1];
} __attribute__((preserve_access_index));

/* What a thread is about; `status` on x86 only. */
struct thread_info {
	unsigned long flags;
	u32 status;
} __attribute__((preserve_access_index));

enum {
	TS_COMPAT = 2,		      /* of status: the system call is a 32-bit one */
	TIF_32BIT = 22,		      /* of flags, on arm64: the thread is a 32-bit one */
	X32_SYSCALL_BIT = 0x40000000, /* of a call's number, on x86-64 */
};

struct task_struct {
	struct thread_info thread_info;
	void *stack;
	unsigned int flags;
	int exit_state;
	struct mm_struct *mm;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	u64 start_boottime; /* nanoseconds */
	const struct cred *real_cred;
	char comm[16];
	struct task_struct *group_leader;
	struct signal_struct *signal;
	struct css_set *cgroups;
	unsigned long sas_ss_sp; /* the stack of signal handlers */
	u64 sas_ss_size;
} __attribute__((preserve_access_index));

enum {
	PF_EXITING = 0x00000004,
	PF_KTHREAD = 0x00200000,
};

/* The record of the classic tracepoint task_newtask. */
struct trace_event_raw_task_newtask {
	int pid;
	unsigned long clone_flags;
} __attribute__((preserve_access_index));

enum {
	CLONE_THREAD = 0x00010000,
};

/* An iterator over tasks (5.8); the task is NULL at the end. */
struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} __attribute__((preserve_access_index));

/* An iterator over caches (6.13); the cache is NULL at the end. */
struct bpf_iter__kmem_cache {
	struct bpf_iter_meta *meta;
	struct kmem_cache *s;
} __attribute__((preserve_access_index));

/* Whether there is a helper: bpf_core_enum_value_exists. */
enum bpf_func_id {
	BPF_FUNC_task_pt_regs = 175, /* 5.15 */
};

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

/* The same where system calls are told of. */
struct pt_regs___call {
	unsigned long orig_ax;
} __attribute__((preserve_access_index));

/* -1: none, as when a signal handler returns. */
#define REGS_CALL(regs) ((s64)BPF_CORE_READ((struct pt_regs___call *)(regs), orig_ax))

#define REGS_ARG1(ctx)	 ((ctx)->di)
#define REGS_ARG2(ctx)	 ((ctx)->si)
#define REGS_ARG3(ctx)	 ((ctx)->dx)
#define REGS_ARG4(ctx)	 ((ctx)->cx)
#define REGS_ARG5(ctx)	 ((ctx)->r8)
#define REGS_ARG6(ctx)	 ((ctx)->r9)
#define REGS_RESULT(ctx) ((ctx)->ax)
#define REGS_IP(ctx)	 ((ctx)->ip)
#define REGS_SP(ctx)	 ((ctx)->sp)
#define REGS_FP(ctx)	 ((ctx)->bp)
/* `call` pushes the return address: the stack pointer is this much higher after the return. */
#define RETURN_SLOT 8
/* A kprobe's program finds the address behind the breakpoint. */
#define KPROBE_IP 1
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	u64 regs[31];
	u64 sp;
	u64 pc;
	u64 pstate;
};

struct pt_regs___call {
	s32 syscallno;
} __attribute__((preserve_access_index));

#define REGS_CALL(regs) ((s64)BPF_CORE_READ((struct pt_regs___call *)(regs), syscallno))

#define REGS_ARG1(ctx)	 ((ctx)->regs[0])
#define REGS_ARG2(ctx)	 ((ctx)->regs[1])
#define REGS_ARG3(ctx)	 ((ctx)->regs[2])
#define REGS_ARG4(ctx)	 ((ctx)->regs[3])
#define REGS_ARG5(ctx)	 ((ctx)->regs[4])
#define REGS_ARG6(ctx)	 ((ctx)->regs[5])
#define REGS_RESULT(ctx) ((ctx)->regs[0])
#define REGS_IP(ctx)	 ((ctx)->pc)
#define REGS_SP(ctx)	 ((ctx)->sp)
#define REGS_FP(ctx)	 ((ctx)->regs[29])
#define REGS_LINK(ctx)	 ((ctx)->regs[30])
#define RETURN_SLOT	 0
#define KPROBE_IP	 0
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
 *	SESSION_COOKIE_PLAIN		6.12 to 6.19
 *	SESSION_COOKIE_CTX		from 7.0 on
 *	RSS_STAT_COUNT			before 6.2
 *	KERNFS_PARENT			before 6.15
 *	TRACK_FAILCNT			from 6.18 on
 *	PER_NODE			7.2
 *	SLAB_IN_PAGE			before 5.17
 *	OWN_STACK			from 6.13 on, where the kernel can be preempted
 */

#endif
