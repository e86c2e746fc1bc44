/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Blocks of pages, of 2^order pages each. One can be given back in parts, at its head or anywhere
 * in it (split_page(), huge pages that are split): what is left of it is then kept in halves,
 * quarters and so on, as the kernel itself does.
 */
#ifndef MEMLEAK_KERNEL_PAGES_BPF_H
#define MEMLEAK_KERNEL_PAGES_BPF_H

#include "memleak_kernel/blocks.bpf.h"

#define MAX_PAGE_ORDER 10

const volatile u32 page_bytes = 4096;

/* Blocks of each order that may be in the table, or more. */
u64 blocks_of_order[16] = {};

/* Where the first page's description is not known, numbers do not begin at 0. */
static __always_inline u64 number_of(u64 page)
{
	return (page - first_page_descriptor()) / bpf_core_type_size(struct page);
}

static __always_inline void put_pages(u64 number, u32 order, struct kernel_block *block)
{
	block->bytes = (u64)page_bytes << order;
	add(&blocks_of_order[order & 15], 1);
	put_block(PAGES, number, block);
}

static __always_inline u32 order_of(const struct kernel_block *block)
{
	u64 pages = block->bytes / page_bytes;
	u32 order = 0, i;

	for (i = 0; i < MAX_PAGE_ORDER; i++) {
		if (pages > 1) {
			pages >>= 1;
			order++;
		}
	}
	return order;
}

/* Of a block that was taken out a part is given back: all else stays. */
static __noinline int keep_rest(u64 head, struct kernel_block *block, u64 part, u32 order)
{
	u32 of = order_of(block), i;
	u64 half;

	account_free(block->stack, block->bytes);
	for (i = 0; i < MAX_PAGE_ORDER; i++) {
		if (of <= order)
			break;
		of--;
		half = head + (1ULL << (of & 15));
		if (part < half) {
			put_pages(half, of, block);
		} else {
			put_pages(head, of, block);
			head = half;
		}
	}
	return 0;
}

/* The order of the block that begins here; 0 also if there is none. */
static __always_inline u32 known_order(u64 head)
{
	struct kernel_block_key key = key_of(PAGES, head);
	struct kernel_block *block = bpf_map_lookup_elem(&blocks, &key);

	return block ? order_of(block) : 0;
}

/* Pages that lie in a larger block, behind its head. */
static __noinline bool leave_part(u64 part, u32 order)
{
	struct kernel_block block;
	u32 of;

	for (of = 1; of <= MAX_PAGE_ORDER; of++) {
		u64 head = part & ~((1ULL << of) - 1);

		if (of <= order || head == part || !READ_ONCE(blocks_of_order[of & 15]))
			continue;
		/* It lives: nobody else takes it meanwhile. */
		if (known_order(head) < of || !take_block(PAGES, head, &block))
			continue;
		keep_rest(head, &block, part, order);
		return true;
	}
	return false;
}

static __always_inline void enter_pages(void *ctx, u64 number, u32 order)
{
	if (!enabled)
		return;
	if (order)
		add(&blocks_of_order[order & 15], 1);
	enter_block(ctx, PAGES, number, (u64)page_bytes << order);
}

static __always_inline void leave_pages(u64 number, u32 order, bool counts)
{
	struct kernel_block block;

	if (!enabled)
		return;
	if (take_block(PAGES, number, &block)) {
		trace(number, (u64)page_bytes << order, 0);
		if (block.bytes > (u64)page_bytes << order)
			keep_rest(number, &block, number, order);
		else
			account_free(block.stack, block.bytes);
	} else if (leave_part(number, order)) {
		trace(number, (u64)page_bytes << order, 0);
	} else if (counts) {
		COUNT(counters, KERNEL_UNTRACKED_FREES);
	}
}

#endif
