/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Libraries are built without frame pointers: a walk that begins inside one loses the caller. An
 * anchor is an entry probe on a function of such a library, which remembers where the caller is.
 */
#ifndef MEMTOOLS_ANCHOR_BPF_H
#define MEMTOOLS_ANCHOR_BPF_H

#include "stack.bpf.h"
#include "task.bpf.h"

#define MAX_ANCHORS 4

const volatile u32 has_attach_cookie = 1; /* 5.15 */

/* A function that allocates on behalf of its caller and keeps no frame pointer. */
struct anchor {
	u64 stack_pointer;
	u64 caller;
	u64 frame_pointer;
	u64 start;
	u64 end;
};

/* Attach cookies for kernels that have none (before 5.15), by the address of the probe. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, u64);
} probe_cookies SEC(".maps");

/* The dynamic linker, which allocates for the C library's callers too. */
struct text_range linker_text = {};

/* Whether the last frame found belongs to the anchor's call, which still stands on the stack. */
static __always_inline bool holds_anchor(const struct anchor *anchor, u64 frame, u64 stack_pointer)
{
	struct text_range own = {.start = anchor->start, .end = anchor->end};

	if (anchor->stack_pointer < stack_pointer ||
	    !(is_inside(frame, &own) | is_inside(frame, &linker_text)))
		return false;
	return read_user_word(anchor->stack_pointer) == anchor->caller;
}

/*
 * The frames that have no frame pointer: from an anchor's function the way goes to its caller.
 * `anchors` are a thread's, the innermost first; `last` is the outermost frame that is known.
 */
static __always_inline void follow_anchors(const struct anchor *anchors, struct walk *walk,
					   u64 last)
{
	u32 i;

	/* A loop that is entered in its middle, as this one would be, 5.10 refuses unread. */
#pragma unroll
	for (i = 0; i < MAX_ANCHORS; i++) {
		const struct anchor *anchor = &anchors[i];
		u32 depth = walk->start_depth;

		if (depth >= WALK_START_FRAMES)
			return;
		if (!holds_anchor(anchor, last, walk->stack_pointer))
			continue;
		last = anchor->caller;
		/*
		 * The comparison may have been made with a copy, of which 5.10 knows nothing: a
		 * mask that changes nothing, and that the compiler does not see through.
		 */
		barrier_var(depth);
		walk->frames[depth & 7] = last;
		walk->start_depth = depth + 1;
		walk->frame_pointer = anchor->frame_pointer;
		/* The next one stands above this one's return address. */
		walk->stack_pointer = anchor->stack_pointer + RETURN_SLOT;
	}
}

static __always_inline u64 probe_cookie(struct pt_regs *ctx)
{
	u64 address, *cookie;

	if (has_attach_cookie)
		return bpf_get_attach_cookie(ctx);
	address = REGS_IP(ctx);
	cookie = bpf_map_lookup_elem(&probe_cookies, &address);
	return cookie ? *cookie : 0;
}

/* The cookie: how far the function reaches below the probe (upper half) and above it. */
static __always_inline void drop_anchor(struct anchor *anchors, struct pt_regs *ctx)
{
	u64 cookie = probe_cookie(ctx);
	int i;

	/* One that still stands is kept; one that has returned, or jumped here, gives its place. */
	if (anchors[0].stack_pointer > REGS_SP(ctx) &&
	    read_user_word(anchors[0].stack_pointer) == anchors[0].caller) {
		for (i = MAX_ANCHORS - 1; i > 0; i--)
			anchors[i] = anchors[i - 1];
	}
	anchors[0].stack_pointer = REGS_SP(ctx);
	anchors[0].caller = return_address(ctx);
	anchors[0].frame_pointer = REGS_FP(ctx);
	anchors[0].start = REGS_IP(ctx) - (cookie >> 32);
	anchors[0].end = REGS_IP(ctx) + (u32)cookie;
}

#endif
