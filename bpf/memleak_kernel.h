/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What memleak's programs for the kernel's own memory and its user space share. */
#ifndef MEMTOOLS_MEMLEAK_KERNEL_H
#define MEMTOOLS_MEMLEAK_KERNEL_H

/* What hands memory out. Each has addresses of its own. */
enum allocator {
	SLAB = 1, /* an object's address */
	PAGES,	  /* the first page's number */
	PERCPU,	  /* the offset that each CPU adds its base to */
	VMALLOC,  /* where the area begins */
};

struct kernel_block_key {
	u64 address;
	u64 allocator;
};

struct kernel_block {
	u64 bytes;
	u64 born_ns; /* CLOCK_MONOTONIC */
	u64 stack;   /* its hash */
	u64 order;   /* of pages */
};

#define KERNEL_FRAMES	  127
#define KERNEL_COMM_BYTES 16

/*
 * Where memory of one allocator is asked for, and what became of it: by the hash of the frames and
 * of whom it is charged to. What found no room is under the allocator's number.
 */
struct kernel_stack {
	u64 allocs;
	u64 alloc_bytes;
	u64 frees;
	u64 free_bytes;
	/* Of these: what stayed of a block of which a part was given back, as blocks of their own.
	 */
	u64 pieces;
	u64 piece_bytes;
	u64 cgroup; /* --by cgroup: its kernfs id */
	u32 allocator;
	u32 depth;
	char comm[KERNEL_COMM_BYTES]; /* --by comm: of the process, and not of its threads */
	u64 frames[KERNEL_FRAMES];
};

/* Whom memory is charged to. */
enum charge {
	CHARGE_NOBODY,
	CHARGE_COMM,
	CHARGE_CGROUP,
};

/* Frees of a cache's objects that nobody told of. */
struct unseen_frees {
	u64 count;
	char name[32];
};

enum kernel_counter {
	KERNEL_FAILED,
	KERNEL_UNTRACKED_FREES, /* of memory that is not in the table */
	KERNEL_UNRECORDED,	/* allocations left out by -s, -z or -Z */
	/* What makes figures wrong. */
	KERNEL_LOST_ALLOCS,
	KERNEL_LOST_ALLOC_BYTES,
	KERNEL_LOST_STACKS,
	KERNEL_LOST_CALLS,   /* calls of vmalloc whose return was not seen */
	KERNEL_NOT_FOLLOWED, /* of which nothing became: a bulk too long, a table in use */
	KERNEL_LOST_EVENTS,  /* lines of -t that found the buffer full */
	KERNEL_MISSED_FREES, /* addresses given out again although no free was seen */
	KERNEL_TRUNCATED_STACKS,
	KERNEL_COUNTERS,
};

/* For -t. */
struct kernel_event {
	u64 time_ns; /* CLOCK_MONOTONIC */
	u64 address;
	u64 bytes;
	u32 is_alloc;
	u32 thread;
};

#endif
