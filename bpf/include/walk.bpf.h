/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * User stacks, walked by frame pointers in our own code: bpf_get_stack and the kernel's stack
 * tables are unsafe where uprobe programs can be preempted, and so is scratch memory per CPU.
 */
#ifndef MEMTOOLS_WALK_BPF_H
#define MEMTOOLS_WALK_BPF_H

#include "hash.h"
#include "stack.h"

/* Two frame records further apart than this are not of one call chain. */
#define MAX_FRAME_BYTES (16 << 20)

struct text_range {
	u64 start;
	u64 end;
};

/*
 * Where code can lie: the program, and everything between the lowest and the highest library. A
 * coarse test that keeps garbage in frame pointers from making every stack look new; user space
 * judges each frame exactly.
 */
struct text_range text_ranges[2] = {};

/* The end of a range that holds every address of user space. */
#define TEXT_ANYWHERE (1ULL << 62)

/* Until user space knows where text lies. */
static __always_inline void allow_any_text(void)
{
	text_ranges[0].start = 0;
	text_ranges[0].end = TEXT_ANYWHERE;
}

const volatile u32 max_stack_depth = MAX_FRAMES;

/* So many frames can be known before the walk begins: they were found without a frame pointer. */
#define WALK_START_FRAMES 6

#define WINDOW_WORDS	 64
#define MAX_WINDOW_BYTES 0x1f8 /* a mask of whole words, too */
#define PAGE_BYTES	 4096

/*
 * A walk, from its start to the frames it found. It lives in a map, in the thread's own record: no
 * other thread can mix it up, and the verifier, to which all of it is unknown, follows the loop
 * once and not once for each value.
 */
struct walk {
	u64 frame_pointer;
	u64 stack_pointer;
	u32 start_depth; /* frames that are there before it begins */
	u32 depth;
	u32 flags;
	u32 reserved;
	/* A piece of the stack, read at once. */
	u64 window_start;
	u64 window_bytes;
	u64 window[WINDOW_WORDS];
	u64 frames[MAX_FRAMES];
};

/*
 * Comparisons as arithmetic, all ones or zero for values below 2^63: each branch in the walk would
 * double what the verifier has to follow, a hundred times over.
 */
static __always_inline u64 is_below(u64 a, u64 b)
{
	return (u64)((s64)(a - b) >> 63);
}

static __always_inline u64 is_inside(u64 address, const struct text_range *range)
{
	return ~is_below(address, range->start) & is_below(address, range->end);
}

/*
 * A helper call for each frame would be most of a walk's cost (80 ns). A piece of the stack is read
 * at once, never beyond the page in which the record begins: what can be read alone is read.
 */
static __always_inline u64 fill_window(struct walk *walk, u64 at)
{
	u64 room = PAGE_BYTES - (at & (PAGE_BYTES - 1));
	u64 is_far = is_below(MAX_WINDOW_BYTES, room);
	u64 bytes = (room & ~is_far) | (MAX_WINDOW_BYTES & is_far);

	/* A record that lies across the end of the page is read whole. */
	bytes = (bytes + (8 & is_below(bytes, 16))) & MAX_WINDOW_BYTES;
	walk->window_start = at;
	walk->window_bytes = bytes;
	return (u64)bpf_probe_read_user(walk->window, bytes, (const void *)at) >> 63;
}

/* One step outward. Returns the frame, or 0 where the chain ends. */
static __always_inline u64 next_frame(struct walk *walk, u64 *frame_pointer, u64 stack_pointer,
				      u32 *flags)
{
	u64 at = *frame_pointer;
	u64 frame, inside;
	u32 word;

	if (is_below(at, stack_pointer) | is_below(MAX_FRAME_BYTES, at - stack_pointer) | (at & 7))
		return 0;
	if (at - walk->window_start > walk->window_bytes - 16)
		/* A page that is not there now: the chain goes on, but not for us. */
		*flags |= STACK_CUT & fill_window(walk, at);
	word = (at - walk->window_start) / 8;
	frame = walk->window[(word + 1) & (WINDOW_WORDS - 1)];
	inside = is_inside(frame, &text_ranges[0]) | is_inside(frame, &text_ranges[1]);
	*flags |= STACK_CUT & ~inside & is_below(0, frame);
	*frame_pointer = walk->window[word & (WINDOW_WORDS - 1)];
	return frame & inside;
}

/* A walk on its way: what the loop would have in registers. */
struct walk_state {
	struct walk *walk;
	u64 frame_pointer;
	u64 stack_pointer;
	u64 hash;
	u32 flags;
	u32 depth;
};

static __attribute__((unused)) long walk_step(u32 i, struct walk_state *state)
{
	struct walk *walk = state->walk;
	u64 frame, record;

	if (i >= MAX_FRAMES)
		return 1;
	if (i < WALK_START_FRAMES && i < walk->start_depth) {
		frame = walk->frames[i];
	} else {
		record = state->frame_pointer;
		frame = next_frame(walk, &state->frame_pointer, state->stack_pointer,
				   &state->flags);
		if (!frame)
			return 1;
		state->stack_pointer = record + 16;
		walk->frames[i] = frame;
	}
	state->hash = hash_frame(state->hash, frame);
	state->depth = i + 1;
	return 0;
}

/*
 * The same by a helper (5.17): each frame costs some nanoseconds more, and the verifier a
 * hundredth. A program that calls it cannot be loaded where it is not, even if it never does.
 */
static __always_inline u64 walk_stack_by_helper(struct walk *walk, u64 seed)
{
	struct walk_state state = {
		.walk = walk,
		.frame_pointer = walk->frame_pointer,
		.stack_pointer = walk->stack_pointer,
		.hash = seed,
		.flags = walk->flags,
	};
	u64 frame;

	walk->window_start = 0;
	walk->window_bytes = 16;
	bpf_loop(max_stack_depth, walk_step, &state, 0);
	walk->depth = state.depth;
	if (state.depth >= max_stack_depth) {
		frame = next_frame(walk, &state.frame_pointer, state.stack_pointer, &state.flags);
		state.flags |= STACK_TRUNCATED & is_below(0, frame);
	}
	walk->flags = state.flags;
	return state.hash;
}

/* Fills in the frames, the depth and the flags. Returns the hash. */
static __always_inline u64 walk_stack(struct walk *walk, u64 seed)
{
	u64 frame_pointer = walk->frame_pointer;
	u64 stack_pointer = walk->stack_pointer;
	u64 frame, record, hash = seed;
	u32 flags = walk->flags;
	u32 i;

	walk->window_start = 0;
	walk->window_bytes = 16;
	for (i = 0; i < MAX_FRAMES && i < max_stack_depth; i++) {
		if (i < WALK_START_FRAMES && i < walk->start_depth) {
			frame = walk->frames[i];
		} else {
			record = frame_pointer;
			frame = next_frame(walk, &frame_pointer, stack_pointer, &flags);
			if (!frame)
				break;
			stack_pointer = record + 16;
			walk->frames[i] = frame;
		}
		hash = hash_frame(hash, frame);
	}
	walk->depth = i;
	if (i >= max_stack_depth) {
		frame = next_frame(walk, &frame_pointer, stack_pointer, &flags);
		flags |= STACK_TRUNCATED & is_below(0, frame);
	}
	walk->flags = flags;
	return hash;
}

#endif
