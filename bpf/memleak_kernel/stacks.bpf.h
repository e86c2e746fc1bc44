/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where memory is asked for: stacks of the kernel, each once, with its account. */
#ifndef MEMLEAK_KERNEL_STACKS_BPF_H
#define MEMLEAK_KERNEL_STACKS_BPF_H

#include "hash.h"
#include "scratch.bpf.h"

const volatile u32 charge_to = CHARGE_NOBODY;
const volatile u32 charges_memory_cgroup = 0; /* version 1 */
const volatile u32 max_depth = KERNEL_FRAMES;

/* By hash. Like all maps here it is allocated beforehand: one that grows would be its own event. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240); /* --stack-storage-size; when full: loss.stacks */
	__type(key, u64);
	__type(value, struct kernel_stack);
} stacks SEC(".maps");

/* When all places are busy: loss.stacks. */
SCRATCH(stack_scratch, struct kernel_stack)

static __always_inline void charge(struct kernel_stack *stack)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct cgroup_subsys_state *css;

	stack->cgroup = 0;
	__builtin_memset(stack->comm, 0, sizeof(stack->comm));
	if (charge_to == CHARGE_COMM) {
		BPF_CORE_READ_INTO(&stack->comm, task, group_leader, comm);
	} else if (charge_to == CHARGE_CGROUP) {
		css = charges_memory_cgroup ? memory_css(task) : unified_css(task);
		stack->cgroup = BPF_CORE_READ(css, cgroup, kn, id);
	}
}

static __always_inline u64 hash_kernel_stack(struct kernel_stack *stack, u32 depth)
{
	u64 hash = hash_frame(stack->allocator, stack->cgroup);
	u32 i;

	hash = hash_frame(hash, *(u64 *)&stack->comm[0]);
	hash = hash_frame(hash, *(u64 *)&stack->comm[8]);
	for (i = 0; i < KERNEL_FRAMES && i < depth; i++)
		hash = hash_frame(hash, stack->frames[i]);
	/* Not one of those that stand for stacks without room. */
	return hash > VMALLOC ? hash : hash + VMALLOC + 1;
}

/* The number of the stack that stands here. */
static __always_inline u64 note_stack(void *ctx, u32 allocator)
{
	struct stack_scratch_place *place = take_stack_scratch();
	struct kernel_stack *stack;
	u64 hash = 0;
	u32 depth;
	s64 bytes;

	if (!place) {
		COUNT(counters, KERNEL_LOST_STACKS);
		return allocator;
	}
	stack = &place->value;
	bytes = bpf_get_stack(ctx, stack->frames, sizeof(stack->frames), 0);
	if (bytes > 0) {
		depth = bytes / sizeof(u64);
		if (depth >= max_depth) {
			depth = max_depth;
			COUNT(counters, KERNEL_TRUNCATED_STACKS);
		}
		stack->depth = depth;
		stack->allocator = allocator;
		charge(stack);
		hash = hash_kernel_stack(stack, depth);
		if (!bpf_map_lookup_elem(&stacks, &hash))
			bpf_map_update_elem(&stacks, &hash, stack, BPF_NOEXIST);
	}
	give_stack_scratch(place);
	if (!hash || !bpf_map_lookup_elem(&stacks, &hash)) {
		COUNT(counters, KERNEL_LOST_STACKS);
		return allocator;
	}
	return hash;
}

static __always_inline void account_alloc(u64 hash, u64 bytes)
{
	struct kernel_stack *stack = bpf_map_lookup_elem(&stacks, &hash);

	if (!stack)
		return;
	add(&stack->allocs, 1);
	add(&stack->alloc_bytes, bytes);
}

static __always_inline void account_free(u64 hash, u64 bytes)
{
	struct kernel_stack *stack = bpf_map_lookup_elem(&stacks, &hash);

	if (!stack)
		return;
	add(&stack->frees, 1);
	add(&stack->free_bytes, bytes);
}

#endif
