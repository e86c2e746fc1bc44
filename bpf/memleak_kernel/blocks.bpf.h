/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The memory that the kernel has handed out since the start, and has not got back. */
#ifndef MEMLEAK_KERNEL_BLOCKS_BPF_H
#define MEMLEAK_KERNEL_BLOCKS_BPF_H

#include "memleak_kernel/stacks.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 18); /* --max-allocs; when full: loss.allocs, loss.alloc_bytes */
	__type(key, struct kernel_block_key);
	__type(value, struct kernel_block);
} blocks SEC(".maps");

/* Caches of which objects were freed in ways that nobody tells of, by their addresses. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 512); /* when full: a cache is not named */
	__type(key, u64);
	__type(value, struct unseen_frees);
} unseen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20); /* when full: loss.trace_events */
} events SEC(".maps");

/* 0: nothing is recorded. User space sets it while the programs run. */
u32 enabled = 0;
const volatile u32 sample_every = 1;
const volatile u64 min_bytes = 0;
const volatile u64 max_bytes = ~0ULL;
const volatile u32 trace_every_event = 0;

static __always_inline struct kernel_block_key key_of(u32 allocator, u64 address)
{
	struct kernel_block_key key = {.address = address, .allocator = allocator};

	return key;
}

/* memleak's own doings are not told of. */
static __always_inline bool is_own(void)
{
	return current_task() >> 32 == target_process;
}

static __always_inline void trace(u64 address, u64 bytes, u32 is_alloc)
{
	struct kernel_event event = {
		.address = address,
		.bytes = bytes,
		.is_alloc = is_alloc,
	};
	u64 task;

	if (!trace_every_event)
		return;
	task = current_task();
	if (task >> 32 == target_process)
		return;
	event.time_ns = bpf_ktime_get_ns();
	event.thread = task;
	if (bpf_ringbuf_output(&events, &event, sizeof(event), BPF_RB_NO_WAKEUP))
		COUNT(counters, KERNEL_LOST_EVENTS);
}

/* Takes a block out; of two that do so at a time, one gets it. */
static __always_inline bool take_block(u32 allocator, u64 address, struct kernel_block *taken)
{
	struct kernel_block_key key = key_of(allocator, address);
	struct kernel_block *block = bpf_map_lookup_elem(&blocks, &key);
	long err;

	if (!block)
		return false;
	*taken = *block;
	err = bpf_map_delete_elem(&blocks, &key);
	if (err && err != -ENOENT)
		COUNT(counters, KERNEL_NOT_FOLLOWED);
	return !err;
}

/* An address that is given out anew was given back, whoever knows how. */
static __always_inline bool forget_block(u32 allocator, u64 address)
{
	struct kernel_block old;

	if (!take_block(allocator, address, &old))
		return false;
	account_free(old.stack, old.bytes);
	COUNT(counters, KERNEL_MISSED_FREES);
	return true;
}

static __always_inline bool is_wanted(u64 bytes)
{
	if (bytes < min_bytes || bytes > max_bytes)
		return false;
	return sample_every <= 1 || bpf_get_prandom_u32() % sample_every == 0;
}

/* Whether there was room for it. */
static __always_inline bool put_block(u32 allocator, u64 address, const struct kernel_block *block)
{
	struct kernel_block_key key = key_of(allocator, address);

	if (!bpf_map_update_elem(&blocks, &key, block, BPF_NOEXIST)) {
		account_alloc(block->stack, block->bytes);
		return true;
	}
	COUNT(counters, KERNEL_LOST_ALLOCS);
	COUNT_BY(counters, KERNEL_LOST_ALLOC_BYTES, block->bytes);
	return false;
}

/* Whether memory that is handed out is to be recorded. */
static __always_inline bool begin_block(u32 allocator, u64 address, u64 bytes, bool *was_held)
{
	*was_held = false;
	if (!enabled)
		return false;
	*was_held = forget_block(allocator, address);
	if (is_own())
		return false;
	if (is_wanted(bytes))
		return true;
	COUNT(counters, KERNEL_UNRECORDED);
	return false;
}

static __always_inline void record_block(u32 allocator, u64 address, u64 bytes, u32 order,
					 u64 stack)
{
	struct kernel_block block = {
		.bytes = bytes,
		.born_ns = bpf_ktime_get_ns(),
		.stack = stack,
		.order = order,
	};

	put_block(allocator, address, &block);
	trace(address, bytes, 1);
}

/*
 * Memory was handed out, where `ctx` stands. Returns whether its address was held by a block that
 * nobody was seen to free.
 */
static __always_inline bool enter_block(void *ctx, u32 allocator, u64 address, u64 bytes)
{
	bool was_held;

	if (begin_block(allocator, address, bytes, &was_held))
		record_block(allocator, address, bytes, 0, note_stack(ctx, allocator));
	return was_held;
}

/* Memory was given back, whoever did it. `counts`: nobody else tells of this. */
static __always_inline void leave_block(u32 allocator, u64 address, bool counts)
{
	struct kernel_block block;

	if (!enabled)
		return;
	if (take_block(allocator, address, &block)) {
		account_free(block.stack, block.bytes);
		trace(address, block.bytes, 0);
	} else if (counts) {
		COUNT(counters, KERNEL_UNTRACKED_FREES);
	}
}

#endif
