/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * User stacks, walked by frame pointers in our own code: bpf_get_stack and the kernel's stack
 * tables are unsafe where uprobe programs can be preempted. No scratch memory is used: the first
 * walk only hashes; a stack that was never seen is walked again, straight into a slot of its own.
 */
#ifndef MEMTOOLS_STACK_BPF_H
#define MEMTOOLS_STACK_BPF_H

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

/*
 * Where a walk begins, with the frames that were found without a frame pointer. It lives in a map,
 * in the thread's own record: on the program's stack each depth would be a constant, and the
 * verifier would follow the walk once for each.
 */
#define WALK_START_FRAMES 6

struct walk_start {
	u64 frames[WALK_START_FRAMES];
	u32 depth;
	u64 frame_pointer;
	u64 stack_pointer;
};

struct walk_result {
	u64 hash;
	u32 depth;
	u32 flags;
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

static __always_inline u64 hash_frame(u64 hash, u64 frame)
{
	hash = (hash ^ frame) * 0x9e3779b97f4a7c15ULL;
	return hash ^ (hash >> 29);
}

/* One step outward. Returns the frame, or 0 where the chain ends. */
static __always_inline u64 next_frame(u64 *frame_pointer, u64 stack_pointer, u32 *flags)
{
	u64 record[2] = {};
	u64 at = *frame_pointer;
	u64 frame, inside;

	if (is_below(at, stack_pointer) | is_below(MAX_FRAME_BYTES, at - stack_pointer) | (at & 7))
		return 0;
	/* A page that is not there now: the chain goes on, but not for us. */
	*flags |= STACK_CUT & bpf_probe_read_user(record, sizeof(record), (const void *)at) >> 63;
	frame = record[1];
	inside = is_inside(frame, &text_ranges[0]) | is_inside(frame, &text_ranges[1]);
	*flags |= STACK_CUT & ~inside & is_below(0, frame);
	*frame_pointer = record[0];
	return frame & inside;
}

/*
 * One loop, whose counter is the depth: each step leaves the verifier in one and the same state,
 * however many frames the start brought.
 */
static __always_inline struct walk_result walk_stack(const struct walk_start *start, u64 seed,
						     u64 *frames)
{
	struct walk_result result = {.hash = seed};
	u64 frame_pointer = start->frame_pointer;
	u64 stack_pointer = start->stack_pointer;
	u64 frame, record;
	u32 i;

	for (i = 0; i < MAX_FRAMES && i < max_stack_depth; i++) {
		if (i < WALK_START_FRAMES && i < start->depth) {
			frame = start->frames[i];
		} else {
			record = frame_pointer;
			frame = next_frame(&frame_pointer, stack_pointer, &result.flags);
			if (!frame)
				break;
			stack_pointer = record + 16;
		}
		result.hash = hash_frame(result.hash, frame);
		if (frames)
			frames[i] = frame;
	}
	result.depth = i;
	if (i >= max_stack_depth) {
		frame = next_frame(&frame_pointer, stack_pointer, &result.flags);
		result.flags |= STACK_TRUNCATED & is_below(0, frame);
	}
	return result;
}

/* The slots of the stacks, the free ones among them, and the way from a hash to its slot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* --stack-storage-size; when full: loss.stacks, STACK_UNKNOWN */
	__type(key, u32);
	__type(value, struct stack);
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1); /* one for each slot: a push can never fail */
	__type(value, u32);
} free_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* as many as slots */
	__type(key, u64);
	__type(value, u32);
} stack_slots SEC(".maps");

/* Out of the hot path: runs once for each stack. */
static __noinline u32 keep_stack(const struct walk_start *start, u64 seed, u64 hash, u32 generation)
{
	struct walk_result result;
	struct stack *stack;
	u32 slot, *winner;

	if (bpf_map_pop_elem(&free_slots, &slot))
		return STACK_UNKNOWN;
	stack = bpf_map_lookup_elem(&stacks, &slot);
	if (!stack)
		return STACK_UNKNOWN;

	result = walk_stack(start, seed, stack->frames);
	stack->hash = hash;
	stack->first_seen_ns = bpf_ktime_get_ns();
	stack->depth = result.depth;
	stack->flags = result.flags;
	stack->generation = generation;
	/* A thread's own stack does not change under its feet; if it did, nothing is kept. */
	if (result.hash == hash && !bpf_map_update_elem(&stack_slots, &hash, &slot, BPF_NOEXIST))
		return slot;

	/* Another CPU was first with the same stack. */
	stack->hash = 0;
	bpf_map_push_elem(&free_slots, &slot, BPF_ANY);
	winner = bpf_map_lookup_elem(&stack_slots, &hash);
	return winner ? *winner : STACK_UNKNOWN;
}

#endif
