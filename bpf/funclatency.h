/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What funclatency's BPF programs and its user space share. */
#ifndef MEMTOOLS_FUNCLATENCY_H
#define MEMTOOLS_FUNCLATENCY_H

#include "histogram.h"
#include "stack.h"

#define COMM_BYTES    16
#define MAX_ARGUMENTS 6
/* So many calls of traced functions can a thread be inside of; a power of two. */
#define MAX_DEPTH 128
/* The kernel holds so many returns of user functions for a thread, and lets all others go. */
#define MAX_RETURN_PROBES 64

/* Powers of two of the unit that is shown: 0 and 1 are in the first. */
#define LATENCY_ROWS 64

/* An attach cookie: the function, and what its probe stands on. */
#define COOKIE_FUNCTION	 0xffff
#define ANY_FUNCTION	 0xffff /* a return that does not say of which */
#define COOKIE_KIND	 16	/* enum exit_kind */
#define COOKIE_CONDITION 20	/* the low four bits of a conditional jump's opcode */

enum exit_kind {
	EXIT_RETURN,
	EXIT_JUMP,	  /* into another function: a tail call */
	EXIT_CONDITIONAL, /* the same, if a condition holds */
};

enum call_flag {
	CALL_BY_PROBE = 1 << 0,	 /* the kernel holds its return for us */
	CALL_IGNORED = 1 << 1,	 /* not counted: a nested one */
	CALL_HAS_INNER = 1 << 2, /* it has called itself */
};

enum recursion {
	RECURSION_ALL,
	RECURSION_OUTERMOST,
	RECURSION_INNERMOST,
};

/* A call that a thread is inside of. */
struct function_call {
	u64 stack_pointer; /* at the entry, or what stands for it */
	u64 since;	   /* CLOCK_MONOTONIC */
	u32 function;
	u32 flags;
};

/* Where slow calls are wanted: what it was called with, and where it returns to. */
struct call_details {
	u64 arguments[MAX_ARGUMENTS];
	u64 return_address; /* only where stacks are wanted */
};

/* Of one function on some of the CPUs. The longest and the shortest call are of one interval: that
 * with an even number, or an odd one. */
struct function_stats {
	u64 calls; /* that were entered */
	u64 ended; /* that were timed */
	u64 total_ns;
	u64 unwound;  /* that ended, and no return was seen */
	u64 missed;   /* that were too deep for their returns to be seen */
	u64 unpaired; /* returns of calls that nobody has seen entered */
	u64 max_ns[2];
	u64 min_ns[2];
	u32 interval[2];
	u64 probes_ns; /* what the probes add to each call's time; user space sets it */
	u64 slots[HISTOGRAM_SLOTS];
	u64 rows[LATENCY_ROWS];
};

/* What calls are told apart by. */
enum split {
	SPLIT_NONE,
	SPLIT_PROCESS,
	SPLIT_THREAD,
	SPLIT_COMM, /* the key is a hash of it */
	SPLIT_CGROUP,
	SPLIT_CPU,
	SPLIT_RETURN,
};

struct split_key {
	u64 key;
	u32 function;
	u32 slot; /* of the histogram, or FIRST_ROW and a power of two; 0 in a row's own key */
};

#define FIRST_ROW 2048

struct split_stats {
	u64 ended;
	u64 total_ns;
	u64 max_ns[2];
	u64 min_ns[2];
	u32 interval[2];
};

struct split_name {
	char text[COMM_BYTES];
};

/* A call that took long. */
struct slow_call {
	u64 time_ns; /* when it ended, CLOCK_MONOTONIC */
	u64 ns;
	u64 result;
	u64 arguments[MAX_ARGUMENTS];
	u32 process;
	u32 thread;
	u32 function;
	u32 depth; /* frames; 0: none were wanted, or none found */
	u32 cpu;
	u32 reserved;
	char comm[COMM_BYTES];
};

struct slow_call_with_stack {
	struct slow_call call;
	u64 frames[MAX_FRAMES];
};

enum function_counter {
	LOST_THREADS, /* calls of threads for which there was no room */
	LOST_ROWS,    /* calls that are in no row of --split */
	LOST_CELLS,   /* calls that are in a row's count, and not in its histogram */
	LOST_SLOW,    /* slow calls that could not be told of */
	FUNCTION_COUNTERS,
};

#endif
