/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the two sides of oomkill share. Memory is in pages where nothing else is said. */
#ifndef MEMTOOLS_OOMKILL_H
#define MEMTOOLS_OOMKILL_H

#define COMM_BYTES 16

enum event_kind {
	EVENT_KILL = 1,
	EVENT_STACKS,
	EVENT_REAPED,
	EVENT_EXITED,
};

enum kill_flag {
	/* It was sent SIGKILL for this; otherwise it was about to exit when it was marked. */
	KILL_SENT = 1 << 0,
	/* The victim's task was found: all of struct oom_victim is set. */
	KILL_HAS_TASK = 1 << 1,
	/* struct oom_domain is set. */
	KILL_HAS_DOMAIN = 1 << 2,
	/* The domain is a memory cgroup: its figures are set. */
	KILL_HAS_MEMCG = 1 << 3,
	/* memory.oom.group holds for the victim. */
	KILL_IS_GROUP = 1 << 4,
	/* The trigger was in a page fault; otherwise in a system call, or it has no user space. */
	KILL_IN_FAULT = 1 << 5,
	KILL_IN_CALL = 1 << 6,
	/* A path or the command line was too long for the record. */
	KILL_TEXT_CUT = 1 << 7,
	/* The memory controller is of version 1: swap figures are those of memory and swap. */
	KILL_IS_V1 = 1 << 8,
	/* The kernel counts how often the limit was hit. */
	KILL_HAS_FAILCNT = 1 << 9,
	/* The domain was found on the trigger's kernel stack. */
	KILL_DOMAIN_BY_STACK = 1 << 10,
	/* The trigger is a thread of the kernel's own. */
	KILL_BY_KERNEL = 1 << 11,
};

struct oom_task {
	u32 process;
	u32 thread;
	u32 uid;
	s32 oom_score_adj;
	u64 start_boottime_ns;
	char comm[COMM_BYTES];
	u64 memory_cgroup; /* its kernfs id: inode number in the cgroup file system */
};

struct oom_victim {
	struct oom_task task;
	u64 total_vm;
	u64 anon_rss;
	u64 file_rss;
	u64 shmem_rss;
	u64 swap;
	u64 pgtables_bytes;
};

struct oom_domain {
	u64 control; /* the address of the kernel's struct oom_control */
	u64 chosen;  /* the address of the task that it chose */
	u64 memcg;
	u64 memory_cgroup; /* its kernfs id */
	u64 total;
	u64 nodes; /* the first 64 NUMA nodes of the request; 0: any */
	s64 points;
	u32 gfp;
	s32 order;
	u32 constraint;
	u32 reserved;
	u64 usage;
	u64 limit;
	u64 peak;
	u64 failcnt;
	u64 swap_usage;
	u64 swap_limit;
};

enum oom_text {
	TEXT_VICTIM_MEMORY_CGROUP,
	TEXT_VICTIM_CGROUP, /* in the version 2 hierarchy, where that is another one */
	TEXT_DOMAIN_CGROUP,
	TEXT_TRIGGER_CGROUP,
	TEXT_COMMAND_LINE,
	TEXTS,
};

/* One cgroup name, or a piece of the command line. */
#define PIECE_BYTES    256
#define TEXT_BYTES     3072
#define COMMAND_PIECES 4

struct oom_kill {
	u32 kind;
	u32 flags;
	u64 time_ns;	/* CLOCK_MONOTONIC */
	u64 invocation; /* the same for all that one call of the OOM killer kills */
	struct oom_victim victim;
	struct oom_task trigger;
	struct oom_domain domain;
	s64 call; /* the trigger's system call */
	u32 text_bytes;
	u16 texts[TEXTS]; /* bytes of each: cgroup names with their NULs, from the innermost outward
			   */
	u16 reserved;
	char text[TEXT_BYTES + PIECE_BYTES]; /* sent as far as it is used */
};

struct oom_stacks {
	u32 kind;
	u32 flags; /* of the user stack: enum stack_flag */
	u64 time_ns;
	u32 process; /* of the trigger */
	u32 thread;
	u32 kernel_depth;
	u32 user_depth;
	u64 kernel[MAX_FRAMES];
	u64 user[MAX_FRAMES];
};

/* EVENT_REAPED and EVENT_EXITED. */
struct oom_end {
	u32 kind;
	u32 task; /* a thread of the victim's in EVENT_REAPED, its process in EVENT_EXITED */
	u64 time_ns;
};

/* What the iterator says of a process. */
struct oom_process {
	u32 process;
	s32 oom_score_adj;
	u64 anon_rss;
	u64 file_rss;
	u64 shmem_rss;
	u64 swap;
	char comm[COMM_BYTES];
};

_Static_assert(sizeof(struct oom_end) == 16, "as in user space");
_Static_assert(sizeof(struct oom_process) == 56, "as in user space");

#endif
