/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * memleak without a process: which memory the kernel has handed out and not got back, by stack.
 *
 * Events come in by raw tracepoints, or by classic ones where raw ones are preempted and lose
 * events (7.2); of what no tracepoint tells, by functions. A free that is not seen would look like
 * a leak: so what frees is there twice, for the kernel skips a program that runs already when an
 * interrupt comes. The second finds nothing, but where the first was skipped.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "atomic.h"
#include "loss.h"
#include "current.bpf.h"
#include "cgroup.bpf.h"
#include "slab.bpf.h"
#include "memleak_kernel.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KERNEL_COUNTERS);
	__type(key, u32);
	__type(value, u64);
} counters SEC(".maps");

#include "memleak_kernel/blocks.bpf.h"
#include "memleak_kernel/pages.bpf.h"
#include "memleak_kernel/calls.bpf.h"

/* The third argument of the tracepoint is the cache (5.19). */
const volatile u32 alloc_has_cache = 0;
/* The first argument of the tracepoint of the per-CPU allocator is a call site, and there is one
 * for what it takes on all CPUs (6.0). */
const volatile u32 percpu_has_call_site = 0;
const volatile u32 cpus = 1;
/* Whether kmem_cache_alloc_bulk() returns a bool, and no number (7.0). */
const volatile u32 bulk_is_bool = 0;

/* ---- slab ---- */

/* Of a cache whose objects went unseen the name is kept. */
static __noinline int note_unseen(u64 cache)
{
	struct unseen_frees *known = bpf_map_lookup_elem(&unseen, &cache);
	struct unseen_frees first = {};

	if (!cache)
		return 0;
	if (known) {
		add(&known->count, 1);
		return 0;
	}
	first.count = 1;
	bpf_probe_read_kernel_str(first.name, sizeof(first.name),
				  BPF_CORE_READ((struct kmem_cache *)cache, name));
	bpf_map_update_elem(&unseen, &cache, &first, BPF_NOEXIST);
	return 0;
}

static __always_inline int enter_object(void *ctx, u64 cache, u64 object, u64 bytes)
{
	if (!object) {
		COUNT(counters, KERNEL_FAILED);
		return 0;
	}
	if (!is_object(object))
		return 0;
	if (!bytes) {
		cache = cache ?: cache_of(object);
		bytes = BPF_CORE_READ((struct kmem_cache *)cache, size);
	}
	if (enter_block(ctx, SLAB, object, bytes))
		note_unseen(cache ?: cache_of(object));
	return 0;
}

static __always_inline int leave_object(u64 object, bool counts)
{
	if (is_object(object))
		leave_block(SLAB, object, counts);
	return 0;
}

SEC("raw_tp/kmalloc")
int slab_kmalloc(u64 *ctx)
{
	/* call site, object, bytes asked for, bytes given */
	return enter_object(ctx, 0, ctx[1], ctx[3]);
}

SEC("raw_tp/kmalloc_node")
int slab_kmalloc_node(u64 *ctx)
{
	return enter_object(ctx, 0, ctx[1], ctx[3]);
}

SEC("raw_tp/kmem_cache_alloc")
int slab_cache_alloc(u64 *ctx)
{
	/* call site, object, cache; or as kmalloc */
	return alloc_has_cache ? enter_object(ctx, ctx[2], ctx[1], 0)
			       : enter_object(ctx, 0, ctx[1], ctx[3]);
}

SEC("raw_tp/kmem_cache_alloc_node")
int slab_cache_alloc_node(u64 *ctx)
{
	return enter_object(ctx, 0, ctx[1], ctx[3]);
}

struct kmalloc_record {
	struct kmem_record kmem;
	u64 bytes_requested;
	u64 bytes;
};

SEC("tracepoint/kmem/kmalloc")
int slab_kmalloc_record(struct kmalloc_record *ctx)
{
	return enter_object(ctx, 0, ctx->kmem.object, ctx->bytes);
}

SEC("tracepoint/kmem/kmem_cache_alloc")
int slab_cache_alloc_record(struct kmem_record *ctx)
{
	return enter_object(ctx, 0, ctx->object, 0);
}

#define OBJECT_FREED(event, name)                                                                  \
	SEC("raw_tp/" event)                                                                       \
	int name(u64 *ctx)                                                                         \
	{                                                                                          \
		return leave_object(ctx[1], true);                                                 \
	}                                                                                          \
	SEC("raw_tp/" event)                                                                       \
	int name##_again(u64 *ctx)                                                                 \
	{                                                                                          \
		return leave_object(ctx[1], false);                                                \
	}                                                                                          \
	SEC("tracepoint/kmem/" event)                                                              \
	int name##_record(struct kmem_record *ctx)                                                 \
	{                                                                                          \
		return leave_object(ctx->object, true);                                            \
	}

OBJECT_FREED("kfree", slab_kfree)
OBJECT_FREED("kmem_cache_free", slab_cache_free)

/* Where the tracepoint comes when the object is free already, and may be somebody else's (5.10). */
SEC("kprobe/kmem_cache_free")
int slab_free_kprobe(struct pt_regs *ctx)
{
	return leave_object(REGS_ARG2(ctx), true);
}

SEC("kprobe/kmem_cache_alloc_bulk")
int bulk_alloc_enter(struct pt_regs *ctx)
{
	/* struct kmem_cache *, gfp_t, size_t, void ** */
	struct call call = {
		.bytes = BPF_CORE_READ((struct kmem_cache *)REGS_ARG1(ctx), size),
		.amount = REGS_ARG3(ctx),
		.array = REGS_ARG4(ctx),
	};

	begin_call(ctx, FUNCTION_BULK, SLAB, &call);
	return 0;
}

/* Of a bool only the lowest byte is defined. */
static __always_inline bool has_worked(u64 result)
{
	return bulk_is_bool ? (u8)result : (u32)result;
}

SEC("fexit/kmem_cache_alloc_bulk")
int bulk_alloc_exit(u64 *ctx)
{
	return leave_bulk_alloc(has_worked(ctx[4]));
}

SEC("kretprobe/kmem_cache_alloc_bulk")
int bulk_alloc_return(struct pt_regs *ctx)
{
	return leave_bulk_alloc(has_worked(REGS_RESULT(ctx)));
}

SEC("kprobe/kmem_cache_free_bulk")
int bulk_free_enter(struct pt_regs *ctx)
{
	/* struct kmem_cache *, or none; size_t, void ** */
	return leave_bulk_free(REGS_ARG2(ctx), REGS_ARG3(ctx));
}

/* kfree_rcu() of one object, into a list of objects that are to be used again (6.18). */
SEC("fexit/__kfree_rcu_sheaf")
int rcu_free_exit(u64 *ctx)
{
	/* struct kmem_cache *, void *, and whether it was taken */
	if ((u8)ctx[2])
		leave_block(SLAB, ctx[1], true);
	return 0;
}

/* ---- pages ---- */

SEC("raw_tp/mm_page_alloc")
int pages_alloc(u64 *ctx)
{
	/* the first page's description, order */
	if (ctx[0])
		enter_pages(ctx, number_of(ctx[0]), ctx[1]);
	else
		COUNT(counters, KERNEL_FAILED);
	return 0;
}

SEC("raw_tp/mm_page_free")
int pages_free(u64 *ctx)
{
	leave_pages(number_of(ctx[0]), ctx[1], true);
	return 0;
}

SEC("raw_tp/mm_page_free")
int pages_free_again(u64 *ctx)
{
	leave_pages(number_of(ctx[0]), ctx[1], false);
	return 0;
}

struct pages_record {
	u64 common;
	u64 number;
	u32 order;
};

SEC("tracepoint/kmem/mm_page_alloc")
int pages_alloc_record(struct pages_record *ctx)
{
	if (ctx->number != ~0ULL)
		enter_pages(ctx, ctx->number, ctx->order);
	else
		COUNT(counters, KERNEL_FAILED);
	return 0;
}

SEC("tracepoint/kmem/mm_page_free")
int pages_free_record(struct pages_record *ctx)
{
	leave_pages(ctx->number, ctx->order, true);
	return 0;
}

/* ---- memory of each CPU ---- */

static __always_inline int enter_percpu(void *ctx, u64 offset, u64 bytes)
{
	if (offset)
		enter_block(ctx, PERCPU, offset, bytes);
	else
		COUNT(counters, KERNEL_FAILED);
	return 0;
}

SEC("raw_tp/percpu_alloc_percpu")
int percpu_alloc(u64 *ctx)
{
	/* call site, 2 flags, size, alignment, base, offset in it, pointer, bytes on all CPUs */
	if (percpu_has_call_site)
		return enter_percpu(ctx, ctx[7], ctx[8]);
	return enter_percpu(ctx, ctx[6], ctx[2] * cpus);
}

SEC("raw_tp/percpu_free_percpu")
int percpu_free(u64 *ctx)
{
	/* base, offset in it, pointer */
	leave_block(PERCPU, ctx[2], true);
	return 0;
}

SEC("raw_tp/percpu_free_percpu")
int percpu_free_again(u64 *ctx)
{
	leave_block(PERCPU, ctx[2], false);
	return 0;
}

struct percpu_alloc_record {
	u64 common;
	u64 call_site;
	u64 flags;
	u64 size;
	u64 alignment;
	u64 base;
	u64 offset;
	u64 pointer;
	u64 bytes;
};

SEC("tracepoint/percpu/percpu_alloc_percpu")
int percpu_alloc_record(struct percpu_alloc_record *ctx)
{
	return enter_percpu(ctx, ctx->pointer, ctx->bytes);
}

struct percpu_free_record {
	u64 common;
	u64 base;
	u64 offset;
	u64 pointer;
};

SEC("tracepoint/percpu/percpu_free_percpu")
int percpu_free_record(struct percpu_free_record *ctx)
{
	leave_block(PERCPU, ctx->pointer, true);
	return 0;
}

/* ---- vmalloc ---- */

SEC("kprobe/__vmalloc_node_range")
int vmalloc_enter(struct pt_regs *ctx)
{
	/* bytes; an area is of whole pages */
	u64 bytes = (REGS_ARG1(ctx) + page_bytes - 1) / page_bytes * page_bytes;
	struct call call = {.amount = bytes};

	begin_call(ctx, FUNCTION_VMALLOC, VMALLOC, &call);
	return 0;
}

SEC("fexit/__vmalloc_node_range")
int vmalloc_exit(u64 *ctx)
{
	/* 9 arguments, the address */
	return leave_vmalloc(ctx[9]);
}

SEC("kretprobe/__vmalloc_node_range")
int vmalloc_return(struct pt_regs *ctx)
{
	return leave_vmalloc(REGS_RESULT(ctx));
}

SEC("kprobe/vfree")
int vmalloc_vfree(struct pt_regs *ctx)
{
	u64 address = REGS_ARG1(ctx);

	if (address)
		leave_block(VMALLOC, address, false);
	return 0;
}

SEC("kprobe/vfree_atomic")
int vmalloc_vfree_atomic(struct pt_regs *ctx)
{
	u64 address = REGS_ARG1(ctx);

	if (address)
		leave_block(VMALLOC, address, false);
	return 0;
}

/* A struct that goes through a ring buffer alone has no place in the skeleton without this. */
const volatile struct kernel_event unused_event = {};
