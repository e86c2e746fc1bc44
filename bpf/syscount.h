/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What syscount's BPF programs and its user space share. */
#ifndef MEMTOOLS_SYSCOUNT_H
#define MEMTOOLS_SYSCOUNT_H

#define COMM_BYTES 16

/* By which table a call's number is read. */
enum call_abi {
	ABI_NATIVE,
	ABI_COMPAT, /* 32-bit: i386, arm */
	ABI_X32,
	ABIS,
};

/* Calls with a number below have a place of their own in arrays; all others are found by hash. */
#define CALLS_PER_ABI 512
#define CALL_SLOTS    (ABIS * CALLS_PER_ABI)
/* So many of the others can be asked for. */
#define MAX_ODD_CALLS 32

/* Whose calls a row counts. */
enum row_by {
	BY_CALL,
	BY_PROCESS,
	BY_THREAD,
	BY_CGROUP,
};

struct call_key {
	u64 owner; /* a PID, a TID, a cgroup's id; 0: everybody */
	u32 call;
	u32 abi;
};

/* On one CPU. The longest call is of one interval: that with an even number, or an odd one. */
struct call_stats {
	u64 count;
	u64 ended; /* of those that are timed */
	u64 errors;
	u64 total_ns;
	u64 max_ns[2];
	u32 interval[2]; /* whose longest that is */
};

/* Of one CPU. */
struct call_table {
	struct call_stats calls[CALL_SLOTS];
};

/* Where a duration or an error is counted, per CPU. */
struct cell_key {
	u64 owner;
	u32 call;
	u16 abi;
	u16 cell;
};

/* Cells: those of the histogram (histogram.h), then one for each errno. */
#define FIRST_ERRNO_CELL 2048
#define MAX_ERRNO	 4095

/* The call that a thread has entered. */
struct entered_call {
	u64 since;  /* CLOCK_MONOTONIC */
	u64 owner;  /* of the row in which it counts */
	u32 thread; /* in the namespace that user space speaks of */
	u32 process;
	u32 call;
	u16 abi;
	u16 is_inside; /* 0: it has left it */
};

/* A thread that has made a call since the start: the iterator writes one for each. */
struct thread_call {
	struct entered_call entered;
	char comm[COMM_BYTES]; /* of the process */
};

struct owner_name {
	char text[COMM_BYTES];
};

enum call_counter {
	LOST_ROWS,   /* calls of rows for which there was no room */
	LOST_TIMES,  /* calls that could not be timed */
	LOST_CELLS,  /* durations and errors that are in no histogram */
	LOST_FAMILY, /* children for which there was no room */
	CALL_COUNTERS,
};

#endif
