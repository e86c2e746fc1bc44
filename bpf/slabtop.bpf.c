/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the kernel's slab caches hold, how many objects come and go, and who makes those that stay.
 *
 * Three groups of programs, each loaded by itself: the sizes (an iterator), the motion (counters),
 * and what follows single objects of a few caches. The latter two see events in one of two ways: by
 * raw tracepoint, or by classic tracepoint where raw ones are preempted and lose events (7.2).
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "atomic.h"
#include "loss.h"
#include "current.bpf.h"
#include "cgroup.bpf.h"
#include "select.bpf.h"
#include "slabtop.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The third argument of these tracepoints is the cache: of allocations from 5.19, of frees
 * from 6.0. */
const volatile u32 alloc_has_cache = 0;
const volatile u32 free_has_cache = 0;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLAB_COUNTERS);
	__type(key, u32);
	__type(value, u64);
} counters SEC(".maps");

/* Whether kmem_cache_alloc_bulk() returns a bool, and no number (7.0). */
const volatile u32 bulk_is_bool = 0;

static __always_inline bool is_wanted(void)
{
	return is_wanted_process() && is_in_wanted_cgroup();
}

#include "slab.bpf.h"
#include "slabtop/sizes.bpf.h"
#include "slabtop/motion.bpf.h"
#include "slabtop/follow.bpf.h"

SEC("iter/kmem_cache")
int list_caches(struct bpf_iter__kmem_cache *ctx)
{
	return tell_sizes(ctx);
}

/* ---- motion ---- */

static __always_inline int count_one(u64 cache, u64 object, enum motion motion)
{
	if (!is_object(object) || !is_wanted())
		return 0;
	if (!cache)
		cache = cache_of(object);
	if (!cache) {
		COUNT(counters, NO_SLAB);
		return 0;
	}
	return count_objects(cache, motion, 1);
}

/* Where events come in: `name` by raw tracepoint, `name`_record by classic one. */
#define KMEM_EVENT(event, name, has_cache, one, motion)                                            \
	SEC("raw_tp/" event)                                                                       \
	int name(u64 *ctx)                                                                         \
	{                                                                                          \
		return one((has_cache) ? ctx[2] : 0, ctx[1], motion);                              \
	}                                                                                          \
	SEC("tracepoint/kmem/" event)                                                              \
	int name##_record(struct kmem_record *ctx)                                                 \
	{                                                                                          \
		return one(0, ctx->object, motion);                                                \
	}

KMEM_EVENT("kmem_cache_alloc", on_cache_alloc, alloc_has_cache, count_one, CACHE_ALLOC)
KMEM_EVENT("kmem_cache_alloc_node", on_cache_alloc_node, 0, count_one, CACHE_ALLOC) /* before 6.1 */
KMEM_EVENT("kmalloc", on_kmalloc, 0, count_one, KMALLOC)
KMEM_EVENT("kmalloc_node", on_kmalloc_node, 0, count_one, KMALLOC) /* before 6.1 */
KMEM_EVENT("kmem_cache_free", on_cache_free, free_has_cache, count_one, CACHE_FREE)
KMEM_EVENT("kfree", on_kfree, 0, count_one, KFREE)

/* Where the tracepoint comes when the object is free already, and its page may be gone (5.10). */
SEC("fentry/kmem_cache_free")
int on_free_entry(u64 *ctx)
{
	/* struct kmem_cache *, void * */
	return count_one(ctx[0], ctx[1], CACHE_FREE);
}

/* The same where trampolines are not safe (before 5.12). */
SEC("kprobe/kmem_cache_free")
int on_free_kprobe(struct pt_regs *ctx)
{
	return count_one(REGS_ARG1(ctx), REGS_ARG2(ctx), CACHE_FREE);
}

/* Of a bool only the lowest byte is defined. */
static __always_inline bool has_worked(u64 result)
{
	return bulk_is_bool ? (u8)result : (u32)result;
}

/* No tracepoint tells of bulks; `_noprof` from 6.10 on. */
SEC("fexit/kmem_cache_alloc_bulk")
int on_bulk_alloc(u64 *ctx)
{
	/* struct kmem_cache *, gfp_t, size_t, void **, and whether it worked */
	u64 cache = ctx[0], objects = ctx[2];

	if (!has_worked(ctx[4]) || !is_wanted())
		return 0;
	return count_objects(cache, BULK_ALLOC, objects);
}

/* kfree_rcu() frees as many at once as a page has pointers. */
#define MAX_BULK 512

/* Not static: the verifier follows it once, and not for each turn of the loop. */
__noinline int count_freed(u64 object)
{
	u64 cache = cache_of(object);

	if (cache)
		count_objects(cache, BULK_FREE, 1);
	return 0;
}

SEC("fentry/kmem_cache_free_bulk")
int on_bulk_free(u64 *ctx)
{
	/* struct kmem_cache *, or none: objects of any caches; size_t, void ** */
	u64 cache = ctx[0], objects = ctx[1];
	u64 *array = (u64 *)ctx[2];
	u64 object;
	u32 i;

	if (!is_wanted())
		return 0;
	if (cache)
		return count_objects(cache, BULK_FREE, objects);
	for (i = 0; i < MAX_BULK && i < objects; i++) {
		object = 0;
		bpf_probe_read_kernel(&object, sizeof(object), array + i);
		count_freed(object);
	}
	if (objects > MAX_BULK)
		COUNT_BY(counters, LOST_BULK, objects - MAX_BULK);
	return 0;
}

/* kfree_rcu() of one object, into a list of objects that are to be used again (6.18). */
SEC("fexit/__kfree_rcu_sheaf")
int on_rcu_free(u64 *ctx)
{
	/* struct kmem_cache *, void *, and whether it was taken */
	if (!(u8)ctx[2] || !is_wanted())
		return 0;
	return count_objects(ctx[0], BULK_FREE, 1);
}

/* ---- objects ---- */

#define FOLLOW_EVENT(event, name, has_cache, follow)                                               \
	SEC("raw_tp/" event)                                                                       \
	int name(u64 *ctx)                                                                         \
	{                                                                                          \
		u64 object = ctx[1], cache = (has_cache) ? ctx[2] : 0;                             \
                                                                                                   \
		if (!cache)                                                                        \
			cache = cache_of(object);                                                  \
		if (is_object(object) && is_followed(cache))                                       \
			follow(ctx, cache, object);                                                \
		return 0;                                                                          \
	}                                                                                          \
	SEC("tracepoint/kmem/" event)                                                              \
	int name##_record(struct kmem_record *ctx)                                                 \
	{                                                                                          \
		u64 object = ctx->object, cache = cache_of(object);                                \
                                                                                                   \
		if (is_object(object) && is_followed(cache))                                       \
			follow(ctx, cache, object);                                                \
		return 0;                                                                          \
	}

FOLLOW_EVENT("kmem_cache_alloc", follow_cache_alloc, alloc_has_cache, follow_alloc)
FOLLOW_EVENT("kmem_cache_alloc_node", follow_cache_alloc_node, 0, follow_alloc)
FOLLOW_EVENT("kmalloc", follow_kmalloc, 0, follow_alloc)
FOLLOW_EVENT("kmalloc_node", follow_kmalloc_node, 0, follow_alloc)
FOLLOW_EVENT("kmem_cache_free", follow_cache_free, free_has_cache, follow_free)
FOLLOW_EVENT("kfree", follow_kfree, 0, follow_free)

SEC("fentry/kmem_cache_free")
int follow_free_entry(u64 *ctx)
{
	if (is_object(ctx[1]) && is_followed(ctx[0]))
		follow_free(ctx, ctx[0], ctx[1]);
	return 0;
}

SEC("kprobe/kmem_cache_free")
int follow_free_kprobe(struct pt_regs *ctx)
{
	u64 cache = REGS_ARG1(ctx), object = REGS_ARG2(ctx);

	if (is_object(object) && is_followed(cache))
		follow_free(ctx, cache, object);
	return 0;
}

/*
 * What is allocated in bulks is not followed: a program for a function can be preempted, and then a
 * stack taken in it is mixed up with another one.
 */
SEC("fentry/kmem_cache_free_bulk")
int follow_bulk_free(u64 *ctx)
{
	u64 cache = ctx[0], count = ctx[1], object;
	u64 *array = (u64 *)ctx[2];
	u32 i;

	if (cache && !is_followed(cache))
		return 0;
	for (i = 0; i < MAX_BULK && i < count; i++) {
		object = 0;
		bpf_probe_read_kernel(&object, sizeof(object), array + i);
		/* What is not followed is not in the table. */
		end_object(object);
	}
	if (cache && count > MAX_BULK)
		COUNT_BY(counters, LOST_OBJECTS, count - MAX_BULK);
	return 0;
}

SEC("fexit/__kfree_rcu_sheaf")
int follow_rcu_free(u64 *ctx)
{
	if ((u8)ctx[2] && is_followed(ctx[0]))
		end_object(ctx[1]);
	return 0;
}

/* A struct that only an iterator writes has no place in the skeleton without this. */
const volatile struct slab_sizes unused_sizes = {};
