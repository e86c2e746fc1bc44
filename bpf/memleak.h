/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the two sides of memleak share. */
#ifndef MEMTOOLS_MEMLEAK_H
#define MEMTOOLS_MEMLEAK_H

enum counter {
	/* Probe hits that neither an allocation nor a free stands for. */
	COUNTER_NESTED_CALLS,
	COUNTER_ANCHOR_HITS,
	COUNTER_MAPPING_HITS,
	COUNTER_SAMPLE_HITS,
	/* What of the allocations and frees the process's own samples stand for. */
	COUNTER_SAMPLED_ALLOCS,
	COUNTER_SAMPLED_FREES,
	/* What happened. */
	COUNTER_FAILED,
	COUNTER_UNTRACKED_FREES,
	COUNTER_MAPS,
	COUNTER_UNMAPS,
	COUNTER_REMAPS,
	COUNTER_UNRECORDED, /* allocations left out by -s, -z or -Z */
	/* What makes figures wrong. */
	LOSS_ALLOCS,
	LOSS_ALLOC_BYTES,
	LOSS_MISSED_FREES,
	LOSS_SAMPLE_FREES, /* told, and not understood */
	LOSS_MISSED_RETURNS,
	LOSS_STACKS,
	LOSS_TRUNCATED_STACKS,
	LOSS_THREADS,
	LOSS_MAPPING_EVENTS,
	LOSS_TRACE_EVENTS,
	COUNTERS,
};

/* What a probed function does: the attach cookie of a session. */
enum role {
	ROLE_MALLOC = 1,
	ROLE_CALLOC,
	ROLE_MEMALIGN,
	ROLE_POSIX_MEMALIGN,
	ROLE_REALLOC,
	ROLE_REALLOCARRAY,
	ROLE_MMAP,
	ROLE_MREMAP,
	ROLE_XALLOCX, /* resizes in place, or not at all */
	ROLE_END,     /* an instruction by which a function returns that has no return probe */
	ROLE_RUST_REALLOC,
};

struct block_key {
	u64 address;
	u32 process;
	u32 generation;
};

struct block {
	u64 bytes;
	u64 born_ns; /* CLOCK_MONOTONIC */
	u32 stack;
	u32 further; /* objects that a sample stands for beside itself */
};

/* Where an argument of a USDT probe is. */
enum usdt_place {
	USDT_CONSTANT,
	USDT_REGISTER,
	USDT_MEMORY,
};

struct usdt_argument {
	u64 value; /* the constant, or what is added to the address */
	u8 place;
	u8 base; /* registers, by where they are in struct pt_regs */
	u8 index;
	u8 has_index;
	u8 index_shift;
	u8 bytes;
	u8 is_signed;
	u8 reserved;
};

#define USDT_ARGUMENTS 3

/* What is known of a USDT probe before it is hit. */
struct usdt_site {
	struct usdt_argument arguments[USDT_ARGUMENTS];
	/* From the unwind table: where the frame ends, above the return address. */
	s32 frame_end;	   /* from what the register holds */
	s32 frame_pointer; /* from there: where the caller's frame pointer is saved */
	u8 frame_base;	   /* a register */
	u8 knows_caller;
	u8 saves_frame_pointer;
	u8 loses_frame_pointer; /* the way beyond the caller cannot be found */
	u8 reserved[4];
};

#define SET_WAYS	     2
#define SET_GENERATION_SHIFT 56
#define SET_STACK_SHIFT	     40

/*
 * A cache line of blocks. To read one while it changes: its birth, what it is, its key, its birth
 * again; a key that is not zero, of the present image, and the same birth twice make it whole.
 */
struct block_set {
	u64 keys[SET_WAYS]; /* address, and the low byte of the generation; 0: empty */
	u64 born_ns[SET_WAYS];
	u64 what[SET_WAYS]; /* size, and the stack's slot */
	u32 claims[SET_WAYS];
	u32 overflow; /* its blocks in the hash table, or more */
	u32 reserved;
};

struct stack_totals {
	u64 allocs;
	u64 alloc_bytes;
	u64 frees;
	u64 free_bytes;
};

enum event_kind {
	EVENT_MAP = 1,
	EVENT_UNMAP,
	EVENT_REMAP_BEGIN,
	EVENT_REMAP_END,
	EVENT_EXEC,
	EVENT_ALLOC,
	EVENT_FREE,
};

enum event_flag {
	/* The mapping was made inside an allocation: an arena. */
	EVENT_NESTED = 1 << 0,
	/* The mapping is backed by a file: it only takes the place of others. */
	EVENT_FILE = 1 << 1,
	/* The size is outside -z and -Z. */
	EVENT_FILTERED = 1 << 2,
};

struct event {
	u32 kind;
	u32 flags;
	u64 time_ns; /* CLOCK_MONOTONIC */
	u64 address; /* 0 in EVENT_REMAP_END: the call failed */
	u64 bytes;
	u64 old_address;
	u64 old_bytes;
	u32 stack;
	u32 thread;
	u32 generation;
	u32 map_flags; /* MAP_* of mmap(2) */
};

#endif
