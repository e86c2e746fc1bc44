/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The live blocks, and each stack's account of them. */
#ifndef MEMTOOLS_MEMLEAK_BLOCKS_BPF_H
#define MEMTOOLS_MEMLEAK_BLOCKS_BPF_H

#include "memleak/state.bpf.h"

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

static __always_inline void account_alloc(u32 slot, u64 bytes)
{
	struct stack_totals *t = bpf_map_lookup_elem(&totals, &slot);

	if (!t)
		return;
	ADD(&t->allocs, 1);
	ADD(&t->alloc_bytes, bytes);
}

static __always_inline void account_free(u32 slot, u64 bytes)
{
	struct stack_totals *t = bpf_map_lookup_elem(&totals, &slot);

	if (!t)
		return;
	ADD(&t->frees, 1);
	ADD(&t->free_bytes, bytes);
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

/* The address was given out again although no free of it was seen. */
static __always_inline int replace_block(const struct block_key *key, const struct block *block)
{
	struct block *old = bpf_map_lookup_elem(&blocks, key);

	if (old)
		account_free(old->stack, old->bytes);
	COUNT(counters, LOSS_MISSED_FREES);
	return bpf_map_update_elem(&blocks, key, block, BPF_ANY);
}

static __always_inline void enter_block(u64 task, u64 address, u64 bytes, u32 slot)
{
	struct block_key key = key_of(address);
	struct block block = {.bytes = bytes, .born_ns = bpf_ktime_get_ns(), .stack = slot};
	int err = bpf_map_update_elem(&blocks, &key, &block, BPF_NOEXIST);

	if (err == -EEXIST)
		err = replace_block(&key, &block);
	if (err) {
		COUNT(counters, LOSS_ALLOCS);
		COUNT_BY(counters, LOSS_ALLOC_BYTES, bytes);
		return;
	}
	account_alloc(slot, bytes);
	trace_block(task, EVENT_ALLOC, address, bytes, slot);
}

#endif
