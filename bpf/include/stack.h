/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a stack is, for both sides. */
#ifndef MEMTOOLS_STACK_H
#define MEMTOOLS_STACK_H

/* perf's own default limit (kernel.perf_event_max_stack), so that no BCC user loses a frame. */
#define MAX_FRAMES 127

/* The stack of an event whose own could not be kept: its slot is always there. */
#define STACK_UNKNOWN 0

enum stack_flag {
	/* The walk stopped at the depth limit. */
	STACK_TRUNCATED = 1 << 0,
	/* A frame lay outside the text of the process, and the walk ended there. */
	STACK_CUT = 1 << 1,
};

struct stack {
	u64 hash;
	u64 first_seen_ns; /* CLOCK_MONOTONIC */
	u32 depth;
	u32 flags;
	u32 generation; /* the image (exec) that it belongs to */
	u32 reserved;
	u64 frames[MAX_FRAMES]; /* from the innermost outward */
};

#endif
