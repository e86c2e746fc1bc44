/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A process that samples its allocations itself, and tells of each sample by USDT:
 * otel_memory:alloc(block, bytes, weight) and otel_memory:free(block). The weight is how many bytes
 * the sample stands for.
 */
#ifndef MEMTOOLS_MEMLEAK_SAMPLER_BPF_H
#define MEMTOOLS_MEMLEAK_SAMPLER_BPF_H

#include "memleak/calls.bpf.h"

/* The last image whose samples count: with the next one it is the functions again. */
u32 last_sampled_image = 0;

/* More than an address space has is no size. */
#define MOST_BYTES (1ULL << 47)

/* Far behind the registers that arguments are in. */
#define MOST_REGISTER_OFFSET 0xff

/* By the attach cookie of the probe. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* as many as a process can have, where they are used */
	__type(key, u32);
	__type(value, struct usdt_site);
} usdt_sites SEC(".maps");

static __always_inline u64 saved_register(struct pt_regs *ctx, u32 offset)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)ctx + (offset & MOST_REGISTER_OFFSET));
	return value;
}

/* Whether it could be read: a page may not be there now. */
static __always_inline bool usdt_argument(struct pt_regs *ctx, const struct usdt_argument *argument,
					  u64 *value)
{
	u32 bytes = argument->bytes, shift;
	u64 address;

	*value = argument->value;
	if (argument->place == USDT_REGISTER) {
		*value = saved_register(ctx, argument->base);
	} else if (argument->place == USDT_MEMORY) {
		address = *value + saved_register(ctx, argument->base);
		if (argument->has_index)
			address += saved_register(ctx, argument->index)
				   << (argument->index_shift & 3);
		*value = 0;
		if (bytes > sizeof(*value))
			bytes = sizeof(*value);
		if (bpf_probe_read_user(value, bytes, (const void *)address))
			return false;
	}
	/* All eight bytes of it: a shift by 64 would be none. */
	shift = 64 - 8 * (argument->bytes & 7);
	if (shift >= 64)
		return true;
	*value <<= shift;
	*value = argument->is_signed ? (u64)((s64)*value >> shift) : *value >> shift;
	return true;
}

static __always_inline struct usdt_site *usdt_site(struct pt_regs *ctx)
{
	u32 number = probe_cookie(ctx);

	/* 0: a kernel without cookies that has not been told yet. */
	return number ? bpf_map_lookup_elem(&usdt_sites, &number) : NULL;
}

/*
 * The probe lies within a function: the unwind table has told where its caller is. Returns the
 * outermost frame that is known.
 */
static __always_inline u64 begin_walk_inside(struct pt_regs *ctx, const struct usdt_site *site,
					     struct walk *walk)
{
	u64 end, caller;

	/* Frames are return addresses, which lie behind what they tell of: a no-op. */
	walk->frames[0] = REGS_IP(ctx) + 1;
	walk->start_depth = 1;
	walk->flags = 0;
	walk->frame_pointer = REGS_FP(ctx);
	walk->stack_pointer = REGS_SP(ctx);
	if (!site->knows_caller)
		return walk->frames[0];
	end = saved_register(ctx, site->frame_base) + (s64)site->frame_end;
	caller = read_user_word(end - sizeof(u64));
	if (!caller)
		return walk->frames[0];
	if (site->saves_frame_pointer)
		walk->frame_pointer = read_user_word(end + (s64)site->frame_pointer);
	else if (site->loses_frame_pointer)
		walk->frame_pointer = 0;
	walk->frames[1] = caller;
	walk->start_depth = 2;
	walk->stack_pointer = end;
	return caller;
}

/* So many of the allocator's own functions may lie between the probe and an anchor's function. */
#define MOST_BETWEEN 2

/*
 * Where an anchor stands further out, as operator new's does: by frame pointers as far as to its
 * function, but not beyond. Returns the outermost frame that is known.
 */
static __always_inline u64 walk_to_anchor(const struct thread *thread, struct walk *walk, u64 last)
{
	const struct anchor *anchor = &thread->anchors[0];
	struct text_range own = {.start = anchor->start, .end = anchor->end};
	u64 at, frame;
	u32 depth, i;

	if (anchor->stack_pointer < walk->stack_pointer ||
	    read_user_word(anchor->stack_pointer) != anchor->caller)
		return last;
#pragma unroll
	for (i = 0; i < MOST_BETWEEN; i++) {
		at = walk->frame_pointer;
		depth = walk->start_depth;
		if (is_inside(last, &own) || depth >= WALK_START_FRAMES || (at & 7) ||
		    at < walk->stack_pointer || at >= anchor->stack_pointer)
			return last;
		frame = read_user_word(at + sizeof(u64));
		if (!frame ||
		    !(is_inside(frame, &text_ranges[0]) | is_inside(frame, &text_ranges[1])))
			return last;
		last = frame;
		barrier_var(depth);
		walk->frames[depth & 7] = frame;
		walk->start_depth = depth + 1;
		walk->frame_pointer = read_user_word(at);
		walk->stack_pointer = at + 2 * sizeof(u64);
	}
	return last;
}

/* How many objects a sample stands for, beside itself. */
static __always_inline u32 further_objects(u64 bytes, u64 weight)
{
	u64 objects;

	if (!bytes)
		return 0;
	objects = (weight + bytes / 2) / bytes;
	if (objects > 0xffffffffULL)
		return 0xffffffff;
	return objects ? objects - 1 : 0;
}

/* Not to the sets, which have no place for the number of objects. Samples are few. */
static __always_inline int put_sample(u64 address, const struct block *block)
{
	struct block_set *set = set_of(address);
	struct block_key key = key_of(address);
	struct block old;
	int err;

	/* Its free was not told. */
	if (take_block(address, &old)) {
		account_free(&old);
		COUNT_BY(counters, LOSS_MISSED_FREES, 1 + (u64)old.further);
	}
	/* Before it is there: never fewer than there are. */
	if (set)
		add_ordered(&set->overflow, 1);
	err = bpf_map_update_elem(&blocks, &key, block, BPF_NOEXIST);
	if (err && set)
		add_ordered(&set->overflow, -1);
	return err;
}

/* Whether it is the target's, and none of a program that came after the one with the samples. */
static __always_inline bool is_samplers(u64 task)
{
	return is_target(task) && generation <= last_sampled_image;
}

static __always_inline int enter_sample(struct pt_regs *ctx)
{
	u64 task = current_task(), address, bytes, weight, last;
	struct usdt_site *site;
	struct thread *thread;
	struct block block = {};

	if (!is_samplers(task))
		return 0;
	COUNT(counters, COUNTER_SAMPLE_HITS);
	site = usdt_site(ctx);
	if (!site || !usdt_argument(ctx, &site->arguments[0], &address) ||
	    !usdt_argument(ctx, &site->arguments[1], &bytes) ||
	    !usdt_argument(ctx, &site->arguments[2], &weight) || bytes > MOST_BYTES ||
	    weight > MOST_BYTES) {
		COUNT(counters, LOSS_ALLOCS);
		COUNT(counters, COUNTER_SAMPLED_ALLOCS);
		return 0;
	}
	if (!address)
		return 0;
	block.further = further_objects(bytes, weight);
	/* One that was not drawn stands for itself. */
	block.bytes = weight ?: bytes;
	/* Without a record it is counted among the threads. */
	thread = thread_of(task);
	if (!thread)
		return 0;
	COUNT_BY(counters, COUNTER_SAMPLED_ALLOCS, 1 + (u64)block.further);
	if (!is_wanted(bytes)) {
		COUNT_BY(counters, COUNTER_UNRECORDED, 1 + (u64)block.further);
		return 0;
	}
	last = begin_walk_inside(ctx, site, &thread->walk);
	last = walk_to_anchor(thread, &thread->walk, last);
	block.born_ns = bpf_ktime_get_ns();
	block.stack = slot_of_walk(thread, last, false);
	if (put_sample(address, &block)) {
		COUNT_BY(counters, LOSS_ALLOCS, 1 + (u64)block.further);
		COUNT_BY(counters, LOSS_ALLOC_BYTES, block.bytes);
		return 0;
	}
	account_alloc(&block);
	trace_block(task, EVENT_ALLOC, address, bytes, block.stack);
	return 0;
}

static __always_inline int enter_sample_free(struct pt_regs *ctx)
{
	u64 task = current_task(), address;
	struct usdt_site *site;
	struct block block;

	if (!is_samplers(task))
		return 0;
	COUNT(counters, COUNTER_SAMPLE_HITS);
	site = usdt_site(ctx);
	if (!site || !usdt_argument(ctx, &site->arguments[0], &address)) {
		COUNT(counters, LOSS_SAMPLE_FREES);
		return 0;
	}
	if (!address)
		return 0;
	if (!take_block(address, &block)) {
		COUNT(counters, COUNTER_UNTRACKED_FREES);
		COUNT(counters, COUNTER_SAMPLED_FREES);
		return 0;
	}
	account_free(&block);
	COUNT_BY(counters, COUNTER_SAMPLED_FREES, 1 + (u64)block.further);
	trace_block(task, EVENT_FREE, address, bytes_of_one(&block), block.stack);
	return 0;
}

#endif
