/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A two-way set-associative table in front of the hash table of blocks. Most blocks are freed soon,
 * and here one comes and goes within a cache line, for three atomic additions: a third of what an
 * element of the hash table costs. What finds no room in its set goes to the hash table.
 *
 * There is nothing but additions in it because 5.10 has no other atomic operations. A way belongs
 * to whoever reads a single claim after having added his own; two who come at once both go
 * elsewhere.
 */
#ifndef MEMTOOLS_MEMLEAK_SETS_BPF_H
#define MEMTOOLS_MEMLEAK_SETS_BPF_H

#include "memleak/state.bpf.h"

/* A power of two, or 0: no such table. */
const volatile u32 block_set_count = 0;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* block_set_count; a full set costs time, not blocks */
	__type(key, u32);
	__type(value, struct block_set);
} block_sets SEC(".maps");

/* The halves of block_set.claims: whose place it is, and who is taking the block out. */
#define CLAIM	    1
#define CLAIMS	    0xffffU
#define REMOVAL	    0x10000
#define REMOVALS(c) ((c) >> 16)

static __always_inline u64 set_key(u64 address)
{
	return address | (u64)generation << SET_GENERATION_SHIFT;
}

/* None for an address with a tag in the byte where the key has the generation. */
static __always_inline struct block_set *set_of(u64 address)
{
	u64 hash = (address >> 4) * 0x9e3779b97f4a7c15ULL;
	u32 index = hash >> 40 & (block_set_count - 1);

	if (!block_set_count || address >> SET_GENERATION_SHIFT)
		return NULL;
	return bpf_map_lookup_elem(&block_sets, &index);
}

static __always_inline bool is_in_set(const struct block_set *set, u64 address)
{
	u64 key = set_key(address);

	return set->keys[0] == key || set->keys[1] == key;
}

static __always_inline bool put_in_way(struct block_set *set, u32 way, u64 key, u64 what,
				       u64 born_ns)
{
	if (READ_ONCE(set->claims[way]))
		return false;
	add_ordered(&set->claims[way], CLAIM);
	if ((READ_ONCE(set->claims[way]) & CLAIMS) != CLAIM) {
		add_ordered(&set->claims[way], -CLAIM);
		return false;
	}
	/* In this order: see block_set. */
	WRITE_ONCE(set->what[way], what);
	publish(&set->born_ns[way], born_ns);
	publish(&set->keys[way], key);
	return true;
}

static __always_inline bool put_in_set(struct block_set *set, u64 address,
				       const struct block *block)
{
	u64 key = set_key(address);
	u64 what = block->bytes | (u64)block->stack << SET_STACK_SHIFT;

	if (block->bytes >> SET_STACK_SHIFT ||
	    (u64)block->stack << SET_STACK_SHIFT >> SET_STACK_SHIFT != block->stack)
		return false;
	return put_in_way(set, 0, key, what, block->born_ns) ||
	       put_in_way(set, 1, key, what, block->born_ns);
}

/*
 * A program that frees a block in two threads at once is not to cost another block its record. Its
 * own may stay, when both find the other one at it.
 */
static __always_inline bool take_from_way(struct block_set *set, u32 way, u64 key,
					  struct block *block)
{
	u64 what;

	if (READ_ONCE(set->keys[way]) != key)
		return false;
	add_ordered(&set->claims[way], REMOVAL);
	if (REMOVALS(READ_ONCE(set->claims[way])) != 1 || READ_ONCE(set->keys[way]) != key) {
		add_ordered(&set->claims[way], -REMOVAL);
		return false;
	}
	what = READ_ONCE(set->what[way]);
	block->bytes = what & ((1ULL << SET_STACK_SHIFT) - 1);
	block->stack = what >> SET_STACK_SHIFT;
	block->further = 0;
	block->born_ns = READ_ONCE(set->born_ns[way]);
	WRITE_ONCE(set->keys[way], 0);
	add_ordered(&set->claims[way], -(REMOVAL + CLAIM));
	return true;
}

static __always_inline bool take_from_set(struct block_set *set, u64 address, struct block *block)
{
	u64 key = set_key(address);

	return take_from_way(set, 0, key, block) || take_from_way(set, 1, key, block);
}

#endif
