/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How many objects of each cache come and go: counters per CPU, found by the cache's address. */
#ifndef SLABTOP_MOTION_BPF_H
#define SLABTOP_MOTION_BPF_H

/*
 * An element for each CPU, in which a cache has a slot near the place that its address hashes to.
 * User space reads in place: a system call that reads a map keeps classic tracepoints from being
 * seen on its CPU meanwhile.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* user space sets it: as many as there are CPUs */
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct slab_slots);
} counts SEC(".maps");

/* What a cache was called when its first event came: it can be gone when user space looks. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SLAB_SLOTS); /* when full: a cache that is gone has no name */
	__type(key, u64);
	__type(value, struct slab_name);
} names SEC(".maps");

/* Of the lower half alone: to the verifier the whole is a pointer, with which nothing is computed.
 */
static __always_inline u32 slot_of(u64 cache)
{
	u32 low = cache;

	return (low * 0x9e3779b1U) >> (32 - SLAB_SLOT_BITS);
}

/* Once for each cache and CPU. */
static __always_inline void name_cache(u64 cache)
{
	struct slab_name name = {};

	bpf_probe_read_kernel_str(name.text, sizeof(name.text),
				  BPF_CORE_READ((struct kmem_cache *)cache, name));
	bpf_map_update_elem(&names, &cache, &name, BPF_NOEXIST);
}

/*
 * An empty slot becomes a cache's. An interrupt on this CPU, or a program that takes this one's
 * place, may want it at the same time: then nobody has it, and both go on to the next. A cache that
 * ends up with two slots is the sum of both.
 */
static __always_inline bool claim(struct slab_slot *slot, u64 cache)
{
	add(&slot->claims, 1);
	if (READ_ONCE(slot->claims) != 1)
		return false;
	WRITE_ONCE(slot->cache, cache);
	return true;
}

/* Not inlined: it is a part of every program. */
static __noinline struct slab_slot *search_slot(struct slab_slots *own, u64 cache)
{
	u32 first = slot_of(cache), i;
	struct slab_slot *slot;
	u64 held;

	if (!own)
		return NULL;
	for (i = 0; i < SLOT_PROBES; i++) {
		slot = &own->slots[(first + i) & (SLAB_SLOTS - 1)];
		held = READ_ONCE(slot->cache);
		if (held == cache)
			return slot;
		if (!held && claim(slot, cache)) {
			name_cache(cache);
			return slot;
		}
	}
	return NULL;
}

static __always_inline int count_objects(u64 cache, enum motion motion, u64 objects)
{
	u32 cpu = bpf_get_smp_processor_id();
	struct slab_slots *own = bpf_map_lookup_elem(&counts, &cpu);
	struct slab_slot *slot;

	if (!own)
		return 0;
	slot = &own->slots[slot_of(cache)];
	if (READ_ONCE(slot->cache) != cache)
		slot = search_slot(own, cache);
	if (slot)
		add(&slot->objects[motion], objects);
	else
		COUNT_BY(counters, LOST_CACHES, objects);
	return 0;
}

#endif
