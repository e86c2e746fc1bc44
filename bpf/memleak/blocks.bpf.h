/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The live blocks, and each stack's account of them. */
#ifndef MEMTOOLS_MEMLEAK_BLOCKS_BPF_H
#define MEMTOOLS_MEMLEAK_BLOCKS_BPF_H

#include "memleak/sets.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 20); /* --max-allocs; when full: loss.allocs, loss.alloc_bytes */
	__type(key, struct block_key);
	__type(value, struct block);
} blocks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* as many as stacks */
	__type(key, u32);
	__type(value, struct stack_totals);
} totals SEC(".maps");

static __always_inline void account_alloc(const struct block *block)
{
	u32 slot = block->stack;
	struct stack_totals *t = bpf_map_lookup_elem(&totals, &slot);

	if (!t)
		return;
	add(&t->allocs, 1 + (u64)block->further);
	add(&t->alloc_bytes, block->bytes);
}

static __always_inline void account_free(const struct block *block)
{
	u32 slot = block->stack;
	struct stack_totals *t = bpf_map_lookup_elem(&totals, &slot);

	if (!t)
		return;
	add(&t->frees, 1 + (u64)block->further);
	add(&t->free_bytes, block->bytes);
}

static __always_inline u64 bytes_of_one(const struct block *block)
{
	return block->bytes / (1 + (u64)block->further);
}

static __always_inline struct block_key key_of(u64 address)
{
	struct block_key key = {
		.address = address,
		.process = target_process,
		.generation = generation,
	};

	return key;
}

static __always_inline void trace_block(u64 task, u32 kind, u64 address, u64 bytes, u32 slot)
{
	struct event event = {.kind = kind, .address = address, .bytes = bytes, .stack = slot};

	if (trace_every_event)
		send(&event, task, LOSS_TRACE_EVENTS);
}

/* -EEXIST when the address has a block already; another error when there is no room for it. */
static __always_inline int put_block(u64 address, const struct block *block)
{
	struct block_set *set = set_of(address);
	struct block_key key = key_of(address);
	int err;

	if (!set)
		return bpf_map_update_elem(&blocks, &key, block, BPF_NOEXIST);
	if (is_in_set(set, address) || (set->overflow && bpf_map_lookup_elem(&blocks, &key)))
		return -EEXIST;
	if (put_in_set(set, address, block))
		return 0;
	/* Before it is there: never fewer than there are. */
	add_ordered(&set->overflow, 1);
	err = bpf_map_update_elem(&blocks, &key, block, BPF_NOEXIST);
	if (err)
		add_ordered(&set->overflow, -1);
	return err;
}

static __always_inline bool take_from_hash(u64 address, struct block *block)
{
	struct block_key key = key_of(address);
	struct block *found = bpf_map_lookup_elem(&blocks, &key);

	if (!found)
		return false;
	*block = *found;
	return !bpf_map_delete_elem(&blocks, &key);
}

/* Whether the address had a block; it has none any more. */
static __always_inline bool take_block(u64 address, struct block *block)
{
	struct block_set *set = set_of(address);

	if (!set)
		return take_from_hash(address, block);
	if (take_from_set(set, address, block))
		return true;
	if (!set->overflow || !take_from_hash(address, block))
		return false;
	add_ordered(&set->overflow, -1);
	return true;
}

/* The address was given out again although no free of it was seen. */
static __noinline int replace_block(u64 address, const struct block *block)
{
	struct block old;

	if (take_block(address, &old)) {
		account_free(&old);
		COUNT(counters, LOSS_MISSED_FREES);
	}
	return put_block(address, block);
}

static __always_inline void enter_block(u64 task, u64 address, u64 bytes, u32 slot)
{
	struct block block = {.bytes = bytes, .born_ns = bpf_ktime_get_ns(), .stack = slot};
	int err = put_block(address, &block);

	if (err == -EEXIST)
		err = replace_block(address, &block);
	if (err) {
		COUNT(counters, LOSS_ALLOCS);
		COUNT_BY(counters, LOSS_ALLOC_BYTES, bytes);
		return;
	}
	account_alloc(&block);
	trace_block(task, EVENT_ALLOC, address, bytes, slot);
}

#endif
