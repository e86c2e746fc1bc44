/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who makes the objects of a few caches, and which of them stay: each object is followed. */
#ifndef SLABTOP_FOLLOW_BPF_H
#define SLABTOP_FOLLOW_BPF_H

#include "hash.h"
#include "scratch.bpf.h"

/* The caches that are followed, by their addresses; user space writes them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u64);
	__type(value, u32);
} followed SEC(".maps");

/* All of these are allocated beforehand: a map that grows would be its own event. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144); /* user space sets it; when full: loss.objects */
	__type(key, u64);
	__type(value, struct slab_object);
} objects SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096); /* when full: loss.stacks */
	__type(key, u64);
	__type(value, struct slab_stack);
} stacks SEC(".maps");

SCRATCH(stack_scratch, struct slab_stack)

static __always_inline u64 hash_stack(struct slab_stack *stack, s64 bytes)
{
	u64 hash = hash_frame(1, stack->cache);
	u32 i;

	hash = hash_frame(hash, *(u64 *)&stack->comm[0]);
	hash = hash_frame(hash, *(u64 *)&stack->comm[8]);
	for (i = 0; i < STACK_DEPTH && i * sizeof(u64) < bytes; i++)
		hash = hash_frame(hash, stack->frames[i]);
	stack->depth = i;
	/* 0 stands for none. */
	return hash | 1;
}

/* Whose stack stands here, in the process's name. */
static __always_inline void name_stack(struct slab_stack *stack, u64 cache)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	stack->cache = cache;
	stack->process = bpf_get_current_pid_tgid() >> 32;
	BPF_CORE_READ_INTO(&stack->comm, task, group_leader, comm);
}

/* The number of the stack that stands here, or 0. */
static __always_inline u64 note_stack(void *ctx, u64 cache)
{
	struct stack_scratch_place *scratch;
	struct slab_stack *known;
	u64 hash = 0;
	u32 process;
	s64 bytes;

	scratch = take_stack_scratch();
	if (!scratch) {
		COUNT(counters, LOST_STACKS);
		return 0;
	}
	bytes = bpf_get_stack(ctx, scratch->value.frames, sizeof(scratch->value.frames), 0);
	if (bytes > 0) {
		name_stack(&scratch->value, cache);
		hash = hash_stack(&scratch->value, bytes);
		if (!bpf_map_lookup_elem(&stacks, &hash))
			bpf_map_update_elem(&stacks, &hash, &scratch->value, BPF_NOEXIST);
	}
	process = scratch->value.process;
	give_stack_scratch(scratch);
	known = hash ? bpf_map_lookup_elem(&stacks, &hash) : NULL;
	if (!known) {
		COUNT(counters, LOST_STACKS);
		return 0;
	}
	if (known->process != process)
		known->has_others = 1;
	return hash;
}

/* An object is gone: whoever made it has one less. */
static __always_inline void end_object(u64 object)
{
	struct slab_object *known = bpf_map_lookup_elem(&objects, &object);
	struct slab_stack *stack;
	u64 hash;

	if (!known)
		return;
	hash = known->stack;
	/* Of two that end the same object at a time, one does. */
	if (bpf_map_delete_elem(&objects, &object))
		return;
	stack = bpf_map_lookup_elem(&stacks, &hash);
	if (stack)
		add(&stack->freed, 1);
}

static __always_inline void follow_alloc(void *ctx, u64 cache, u64 object)
{
	struct slab_object made = {};
	struct slab_stack *stack;

	if (!is_object(object))
		return;
	/* It was freed in a way that nobody tells of. */
	end_object(object);
	if (!is_wanted())
		return;
	made.stack = note_stack(ctx, cache);
	stack = made.stack ? bpf_map_lookup_elem(&stacks, &made.stack) : NULL;
	if (!stack)
		return;
	add(&stack->allocs, 1);
	if (bpf_map_update_elem(&objects, &object, &made, BPF_ANY)) {
		add(&stack->not_followed, 1);
		COUNT(counters, LOST_OBJECTS);
	}
}

static __always_inline void follow_free(void *ctx, u64 cache, u64 object)
{
	struct slab_stack *stack;
	u64 hash;

	/* Whoever frees it. */
	end_object(object);
	if (!is_wanted())
		return;
	hash = note_stack(ctx, cache);
	stack = hash ? bpf_map_lookup_elem(&stacks, &hash) : NULL;
	if (stack)
		add(&stack->frees, 1);
}

static __always_inline bool is_followed(u64 cache)
{
	return cache && bpf_map_lookup_elem(&followed, &cache);
}

#endif
