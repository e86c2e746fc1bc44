/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Stacks that are kept: each one once, under the hash that its walk has found. A walk belongs to
 * its thread; a stack that was never seen is copied into a slot of its own.
 */
#ifndef MEMTOOLS_STACK_BPF_H
#define MEMTOOLS_STACK_BPF_H

#include "walk.bpf.h"

/* The slots of the stacks, the free ones among them, and the way from a hash to its slot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
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

#define STACK_CACHE_SLOTS 4096

/* The slot of a stack that was seen lately, by its hash; believed only if the slot agrees. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STACK_CACHE_SLOTS);
	__type(key, u32);
	__type(value, u32);
} stack_cache SEC(".maps");

/* The slot of a stack, or STACK_UNKNOWN. A slot that was once published never changes. */
static __always_inline u32 find_stack(u64 hash)
{
	u32 index = hash & (STACK_CACHE_SLOTS - 1), slot;
	u32 *cached = bpf_map_lookup_elem(&stack_cache, &index), *known;
	struct stack *stack;

	if (!cached)
		return STACK_UNKNOWN;
	slot = *cached;
	stack = bpf_map_lookup_elem(&stacks, &slot);
	if (stack && stack->hash == hash)
		return slot;
	known = bpf_map_lookup_elem(&stack_slots, &hash);
	if (!known)
		return STACK_UNKNOWN;
	*cached = *known;
	return *known;
}

/* Out of the hot path: runs once for each stack. */
static __noinline u32 keep_stack(const struct walk *walk, u64 hash, u32 generation)
{
	/* A depth of 127 at most is a mask of whole words. */
	u32 bytes = walk->depth * 8 & MAX_FRAMES * 8;
	struct stack *stack;
	u32 slot, *winner;

	if (bpf_map_pop_elem(&free_slots, &slot))
		return STACK_UNKNOWN;
	stack = bpf_map_lookup_elem(&stacks, &slot);
	if (!stack)
		return STACK_UNKNOWN;

	bpf_probe_read_kernel(stack->frames, bytes, walk->frames);
	stack->hash = hash;
	stack->first_seen_ns = bpf_ktime_get_ns();
	stack->depth = walk->depth;
	stack->flags = walk->flags;
	stack->generation = generation;
	if (!bpf_map_update_elem(&stack_slots, &hash, &slot, BPF_NOEXIST))
		return slot;

	/* Another CPU was first with the same stack. */
	stack->hash = 0;
	bpf_map_push_elem(&free_slots, &slot, BPF_ANY);
	winner = bpf_map_lookup_elem(&stack_slots, &hash);
	return winner ? *winner : STACK_UNKNOWN;
}

#endif
