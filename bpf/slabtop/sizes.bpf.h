/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What each cache holds, as /proc/slabinfo has it. */
#ifndef SLABTOP_SIZES_BPF_H
#define SLABTOP_SIZES_BPF_H

const volatile u32 numa_nodes = 1;

#define MAX_NODES 64

/* The kernel itself looks at no more partial slabs of a node, half of them from either end (6.10).
 */
#define MAX_PARTIAL 10000

/* A walk along the slabs of a node that have free objects. Nothing is locked: they come and go. */
struct partial_walk {
	u64 head;
	u64 at;
	u64 cache;
	u64 free;
	bool backward;
	bool is_broken;
};

/* Not inlined: offsets that this kernel has not would be computed ahead of the loop. */
static __noinline struct kmem_cache_node *node_of(struct kmem_cache *s, u32 node)
{
	struct kmem_cache_node *found = NULL;

#ifndef WITHOUT_PER_NODE
	if (bpf_core_field_exists(struct kmem_cache___per_node, per_node)) {
		u64 at = (u64)s + bpf_core_field_offset(struct kmem_cache___per_node, per_node) +
			 node * bpf_core_type_size(struct kmem_cache_per_node_ptrs) +
			 bpf_core_field_offset(struct kmem_cache_per_node_ptrs, node);

		bpf_probe_read_kernel(&found, sizeof(found), (const void *)at);
		return found;
	}
#endif
	if (bpf_core_field_exists(s->node)) {
		u64 at = (u64)s + bpf_core_field_offset(s->node) + node * sizeof(found);

		bpf_probe_read_kernel(&found, sizeof(found), (const void *)at);
	}
	return found;
}

static long count_partial(u64 index, struct partial_walk *walk)
{
	struct list_head *at = (void *)walk->at;
	struct slab *slab;

	if (walk->at == walk->head)
		return 1;
	slab = (void *)at - bpf_core_field_offset(struct slab, slab_list);
	if ((u64)BPF_CORE_READ(slab, slab_cache) != walk->cache) {
		/* It has left the list while we stood on it. */
		walk->is_broken = true;
		return 1;
	}
	walk->free += BPF_CORE_READ_BITFIELD_PROBED(slab, objects) -
		      BPF_CORE_READ_BITFIELD_PROBED(slab, inuse);
	walk->at = (u64)(walk->backward ? BPF_CORE_READ(at, prev) : BPF_CORE_READ(at, next));
	return 0;
}

/* Returns how many slabs were looked at, and whether the end of the list was met. */
static __always_inline u64 walk_partial(struct partial_walk *walk, struct kmem_cache_node *node,
					u32 most, bool backward)
{
	struct list_head *head = (void *)((u64)node + bpf_core_field_offset(node->partial));

	walk->head = (u64)head;
	walk->backward = backward;
	walk->at = backward ? (u64)BPF_CORE_READ(head, prev) : (u64)BPF_CORE_READ(head, next);
	return bpf_loop(most, count_partial, walk, 0);
}

/*
 * Free objects in the partial slabs of a node, as the kernel counts, or estimates, them; NOT_KNOWN
 * if the list changed meanwhile. Not static: the verifier follows it once, and not for each node.
 */
#define NOT_KNOWN (~0ULL)

__noinline u64 free_objects(u64 cache, u64 node_address, u64 objects)
{
	struct kmem_cache_node *node = (void *)node_address;
	u64 partial = BPF_CORE_READ(node, nr_partial), looked_at;
	struct partial_walk walk = {.cache = cache};

	if (partial <= MAX_PARTIAL) {
		/* The last look is at the head. */
		looked_at = walk_partial(&walk, node, MAX_PARTIAL + 1, false);
		if (looked_at != partial + 1 || BPF_CORE_READ(node, nr_partial) != partial)
			return NOT_KNOWN;
	} else {
		looked_at = walk_partial(&walk, node, MAX_PARTIAL / 2, false);
		looked_at += walk_partial(&walk, node, MAX_PARTIAL / 2, true);
		if (looked_at != MAX_PARTIAL)
			return NOT_KNOWN;
		walk.free = walk.free * partial / MAX_PARTIAL;
		if (walk.free > objects)
			walk.free = objects;
	}
	return walk.is_broken ? NOT_KNOWN : walk.free;
}

static __always_inline int tell_sizes(struct bpf_iter__kmem_cache *ctx)
{
	struct kmem_cache *s = ctx->s;
	struct slab_sizes sizes = {};
	bool is_known = true;
	u64 objects, free, cache = 0;
	u32 node;

	if (!s)
		return 0;
	sizes.cache = (u64)s;
	/* As a number: the verifier takes what is copied for one. */
	bpf_probe_read_kernel(&cache, sizeof(cache), &sizes.cache);
	sizes.size = BPF_CORE_READ(s, size);
	sizes.order_objects = BPF_CORE_READ(s, oo.x);
	bpf_probe_read_kernel_str(sizes.name, sizeof(sizes.name), BPF_CORE_READ(s, name));
	for (node = 0; node < MAX_NODES && node < numa_nodes; node++) {
		struct kmem_cache_node *there = node_of(s, node);

		if (!there)
			continue;
		objects = BPF_CORE_READ(there, total_objects.counter);
		sizes.slabs += BPF_CORE_READ(there, nr_slabs.counter);
		sizes.objects += objects;
		free = free_objects(cache, (u64)there, objects);
		if (free == NOT_KNOWN)
			is_known = false;
		else
			sizes.free += free;
	}
	if (is_known)
		sizes.flags |= SLAB_FREE_IS_KNOWN;
	bpf_seq_write(ctx->meta->seq, &sizes, sizeof(sizes));
	return 0;
}

#endif
