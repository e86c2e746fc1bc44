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

/* About how many blocks of each order are in the table: where there are none, none is looked for.
 */
u64 blocks_of_order[16] = {};

/* Where the first page's description is not known, numbers do not begin at 0. */
static __always_inline u64 number_of(u64 page)
{
	return (page - first_page_descriptor()) / bpf_core_type_size(struct page);
}

/* What stays of a block is put down as a block of its own. */
static __always_inline void put_piece(u64 number, u32 order, struct kernel_block *block)
{
	struct kernel_stack *stack;

	block->order = order;
	block->bytes = (u64)page_bytes << order;
	if (!put_block(PAGES, number, block))
		return;
	add(&blocks_of_order[order & 15], 1);
	stack = bpf_map_lookup_elem(&stacks, &block->stack);
	if (!stack)
		return;
	add(&stack->pieces, 1);
	add(&stack->piece_bytes, block->bytes);
}

/*
 * Of the block that begins at `head` a part is given back: all else stays. Not static: the verifier
 * follows it once.
 */
__noinline int split_block(u64 head, u64 part, u32 order)
{
	struct kernel_block block;
	u32 of, i;
	u64 half;

	if (!take_block(PAGES, head, &block))
		return 0;
	account_free(block.stack, block.bytes);
	of = block.order & 15;
	add(&blocks_of_order[of], -1);
	for (i = 0; i < MAX_PAGE_ORDER; i++) {
		if (of <= order)
			break;
		of = (of - 1) & 15;
		half = head + (1ULL << of);
		if (part < half) {
			put_piece(half, of, &block);
		} else {
			put_piece(head, of, &block);
			head = half;
		}
	}
	return 1;
}

/* The order of the block that begins here; 0 also if there is none. */
static __always_inline u32 known_order(u64 head)
{
	struct kernel_block_key key = key_of(PAGES, head);
	struct kernel_block *block = bpf_map_lookup_elem(&blocks, &key);

	return block ? block->order : 0;
}

/* Pages that lie in a larger block, behind its head. Not static, likewise. */
__noinline int leave_part(u64 part, u32 order)
{
	u32 of;

	for (of = 1; of <= MAX_PAGE_ORDER; of++) {
		u64 head = part & ~((1ULL << of) - 1);

		if (of <= order || head == part || !READ_ONCE(blocks_of_order[of & 15]))
			continue;
		/* It lives: nobody else takes it meanwhile. */
		if (known_order(head) >= of)
			return split_block(head, part, order);
	}
	return 0;
}

static __always_inline void enter_pages(void *ctx, u64 number, u32 order)
{
	u64 bytes = (u64)page_bytes << order;
	bool was_held;

	if (!begin_block(PAGES, number, bytes, &was_held))
		return;
	if (order)
		add(&blocks_of_order[order & 15], 1);
	record_block(PAGES, number, bytes, order, note_stack(ctx, PAGES));
}

static __always_inline void leave_pages(u64 number, u32 order, bool counts)
{
	struct kernel_block block;
	bool is_part;

	if (!enabled)
		return;
	if (known_order(number) > order) {
		is_part = split_block(number, number, order);
	} else if (take_block(PAGES, number, &block)) {
		account_free(block.stack, block.bytes);
		trace(number, block.bytes, 0);
		if (order)
			add(&blocks_of_order[order & 15], -1);
		return;
	} else {
		is_part = leave_part(number, order);
	}
	if (is_part)
		trace(number, (u64)page_bytes << order, 0);
	else if (counts)
		COUNT(counters, KERNEL_UNTRACKED_FREES);
}

#endif
