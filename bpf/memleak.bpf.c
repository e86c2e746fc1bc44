/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * memleak: which blocks of a process are allocated and not freed, by stack.
 *
 * An allocation is two hits: the entry remembers the arguments in the thread's record, the return
 * walks the stack and enters the block. A free is one hit. The outermost call wins: whatever an
 * allocation function calls inside is its own affair.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "loss.h"
#include "stack.bpf.h"
#include "memleak.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* From mmap(2) and mremap(2), asm-generic. */
#define PROT_NONE     0
#define MAP_FIXED     0x10
#define MAP_ANONYMOUS 0x20
#define MAP_FAILED    (~0ULL)
#define PAGE_MASK     4095ULL

/* Freed blocks from this size on may be given back by a munmap inside free. */
#define LARGE_BLOCK (64 << 10)

/* So many calls inside a pending one, and it is taken for one that never returned. */
#define MAX_NESTED_CALLS 16

#define MAX_ANCHORS 4

/* A wake-up costs the target about a microsecond: only past this watermark. */
#define WAKE_BYTES (256 << 10)

/* ---- what user space sets before the load ---- */

const volatile u32 target_process = 0;
const volatile u64 pid_namespace_device = 0; /* 0: the initial namespace */
const volatile u64 pid_namespace_inode = 0;
const volatile u32 has_attach_cookie = 1; /* 5.15 */
const volatile u32 sample_every = 1;
const volatile u64 min_bytes = 0;
const volatile u64 max_bytes = (u64)-1;
const volatile u32 trace_every_event = 0;

/* ---- and while it runs ---- */

u32 enabled = 0;
u32 generation = 0; /* counts the images: each exec begins a new one */
u32 epoch = 0; /* counts the reuses of text addresses by other files */
u64 trampoline = 0; /* where the process's return probes land; 0: not asked yet */

/* ---- per thread ---- */

enum function {
	FUNCTION_NONE = 0,
	FUNCTION_SIMPLE, /* returns the block */
	FUNCTION_REALLOC,
	FUNCTION_POSIX_MEMALIGN, /* returns 0, the block through a pointer */
	FUNCTION_MMAP,
	FUNCTION_MREMAP,
};

enum call_flag {
	CALL_RECORD = 1 << 0,
	CALL_HAS_OLD = 1 << 1,
	CALL_OLD_UNTRACKED = 1 << 2,
	CALL_FILE = 1 << 3,
};

struct call {
	u64 stack_pointer;
	u64 bytes;
	u64 pointer; /* realloc: the old block; posix_memalign: the out-pointer; mremap: the old address */
	u64 old_bytes; /* mremap; mmap: the MAP_ flags */
	u32 function;
	u32 flags;
	u32 generation;
	u32 nested;
	struct block old;
};

/* A function that allocates on behalf of its caller and keeps no frame pointer. */
struct anchor {
	u64 stack_pointer;
	u64 caller;
	u64 frame_pointer;
	u64 start;
	u64 end;
};

struct thread {
	struct call call;
	u64 arena_stack_pointer; /* an mmap inside the call; 0: none */
	u64 arena_bytes;
	u64 freed; /* the large block freed last */
	struct anchor anchors[MAX_ANCHORS]; /* the innermost first */
	struct walk_start start;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768); /* when full: loss.threads, the thread is not seen */
	__type(key, u32);
	__type(value, struct thread);
} threads SEC(".maps");

/* ---- what was found ---- */

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

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, u32);
	__type(value, u64);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20); /* when full: loss.mapping_events, loss.trace_events */
} events SEC(".maps");

/* Attach cookies for kernels that have none (before 5.15), by the address of the probe. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, u64);
} probe_cookies SEC(".maps");

static const struct thread new_thread;

static __always_inline u64 current_task(void)
{
	struct bpf_pidns_info ids = {};

	if (!pid_namespace_inode)
		return bpf_get_current_pid_tgid();
	if (bpf_get_ns_current_pid_tgid(pid_namespace_device, pid_namespace_inode, &ids,
					sizeof(ids)))
		return 0;
	return (u64)ids.tgid << 32 | ids.pid;
}

static __always_inline bool is_target(u64 task)
{
	return enabled && task >> 32 == target_process;
}

static __always_inline struct thread *thread_of(u64 task)
{
	u32 id = task;
	struct thread *thread = bpf_map_lookup_elem(&threads, &id);

	if (thread)
		return thread;
	/* Only this thread makes its own record. */
	if (bpf_map_update_elem(&threads, &id, &new_thread, BPF_NOEXIST)) {
		COUNT(counters, LOSS_THREADS);
		return NULL;
	}
	return bpf_map_lookup_elem(&threads, &id);
}

static __always_inline u64 read_user_word(u64 address)
{
	u64 word = 0;

	bpf_probe_read_user(&word, sizeof(word), (const void *)address);
	return word;
}

static __always_inline u64 wake_flags(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > WAKE_BYTES ? BPF_RB_FORCE_WAKEUP :
									    BPF_RB_NO_WAKEUP;
}

static __always_inline void send(struct event *event, u64 task, u32 loss)
{
	event->time_ns = bpf_ktime_get_ns();
	event->thread = task;
	event->generation = generation;
	if (bpf_ringbuf_output(&events, event, sizeof(*event), wake_flags()))
		COUNT(counters, loss);
}

/* ---- accounts ---- */

static __always_inline void account_alloc(u32 slot, u64 bytes)
{
	struct stack_totals *t = bpf_map_lookup_elem(&totals, &slot);

	if (!t)
		return;
	__sync_fetch_and_add(&t->allocs, 1);
	__sync_fetch_and_add(&t->alloc_bytes, bytes);
}

static __always_inline void account_free(u32 slot, u64 bytes)
{
	struct stack_totals *t = bpf_map_lookup_elem(&totals, &slot);

	if (!t)
		return;
	__sync_fetch_and_add(&t->frees, 1);
	__sync_fetch_and_add(&t->free_bytes, bytes);
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
	struct event event = { .kind = kind, .address = address, .bytes = bytes, .stack = slot };

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
	struct block block = { .bytes = bytes, .born_ns = bpf_ktime_get_ns(), .stack = slot };
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

/* ---- stacks ---- */

/* Whether the last frame found belongs to the anchor's call, which still stands on the stack. */
static __always_inline bool holds_anchor(const struct anchor *anchor, u64 frame, u64 stack_pointer)
{
	return anchor->stack_pointer >= stack_pointer && frame >= anchor->start &&
	       frame < anchor->end && read_user_word(anchor->stack_pointer) == anchor->caller;
}

/* The frames that have no frame pointer: from an anchor's function the way goes to its caller. */
static __always_inline void follow_anchors(struct thread *thread)
{
	struct walk_start *start = &thread->start;
	u64 last = start->frames[0];
	u32 i;

	for (i = 0; i < MAX_ANCHORS; i++) {
		const struct anchor *anchor = &thread->anchors[i];
		u32 depth = start->depth;

		if (depth >= WALK_START_FRAMES)
			return;
		if (!holds_anchor(anchor, last, start->stack_pointer))
			continue;
		last = anchor->caller;
		start->frames[depth] = last;
		start->depth = depth + 1;
		start->frame_pointer = anchor->frame_pointer;
		/* The next one stands above this one's return address. */
		start->stack_pointer = anchor->stack_pointer + RETURN_SLOT;
	}
}

/* The slot of the stack of a call that just returned. */
static __always_inline u32 stack_of_return(struct pt_regs *ctx, struct thread *thread)
{
	struct walk_start *start = &thread->start;
	u64 seed = (u64)generation << 32 | epoch;
	struct walk_result walk;
	u32 *known, slot;

	start->frames[0] = REGS_IP(ctx);
	start->depth = 1;
	start->frame_pointer = REGS_FP(ctx);
	start->stack_pointer = REGS_SP(ctx);
	follow_anchors(thread);
	walk = walk_stack(start, seed, NULL);
	if (walk.flags & STACK_TRUNCATED)
		COUNT(counters, LOSS_TRUNCATED_STACKS);
	known = bpf_map_lookup_elem(&stack_slots, &walk.hash);
	if (known)
		return *known;
	slot = keep_stack(start, seed, walk.hash, generation);
	if (slot == STACK_UNKNOWN)
		COUNT(counters, LOSS_STACKS);
	return slot;
}

/* ---- calls ---- */

/* realloc never came back: its old block is still the program's. */
static __noinline void drop_call(struct call *call)
{
	struct block_key key = key_of(call->pointer);

	COUNT(counters, LOSS_MISSED_RETURNS);
	if (call->flags & CALL_HAS_OLD)
		bpf_map_update_elem(&blocks, &key, &call->old, BPF_NOEXIST);
	call->function = FUNCTION_NONE;
}

/* Whether a return slot still leads to the trampoline. */
static __always_inline bool is_return_pending(u64 return_slot)
{
#if defined(__TARGET_ARCH_x86)
	if (!trampoline) {
		struct task_struct *task = (void *)bpf_get_current_task();

		trampoline = BPF_CORE_READ(task, mm, uprobes_state.xol_area, vaddr);
	}
	return read_user_word(return_slot) == trampoline;
#else
	/* The return address is in a register, or wherever the function has put it. */
	return true;
#endif
}

/*
 * Whether an outer call of this thread is still on its way. One that was left by longjmp, or by
 * an exception, is not: its stack pointer lies below, or its return slot was written over.
 */
static __always_inline bool is_inside_call(struct call *call, u64 stack_pointer)
{
	if (!call->function)
		return false;
	if (call->generation != generation) {
		call->function = FUNCTION_NONE;
		return false;
	}
	if (stack_pointer > call->stack_pointer || ++call->nested > MAX_NESTED_CALLS) {
		drop_call(call);
		return false;
	}
	if (!is_return_pending(call->stack_pointer)) {
		drop_call(call);
		return false;
	}
	COUNT(counters, COUNTER_NESTED_CALLS);
	return true;
}

/*
 * The thread's record with its call made ready, or NULL: not ours, or inside another call. The
 * caller fills in the function last.
 */
static __always_inline struct thread *begin_call(struct pt_regs *ctx, u64 task)
{
	struct thread *thread;
	u64 stack_pointer = REGS_SP(ctx);

	thread = thread_of(task);
	if (!thread || is_inside_call(&thread->call, stack_pointer))
		return NULL;
	thread->call.stack_pointer = stack_pointer;
	thread->call.generation = generation;
	thread->call.nested = 0;
	thread->call.flags = 0;
	thread->call.pointer = 0;
	return thread;
}

/* At random: every N-th would fall into step with a program that repeats itself. */
static __always_inline bool is_wanted(u64 bytes)
{
	if (bytes < min_bytes || bytes > max_bytes)
		return false;
	return sample_every <= 1 || bpf_get_prandom_u32() % sample_every == 0;
}

/* For a session program: 1 means that no return is wanted. */
static __always_inline int enter_simple(struct pt_regs *ctx, u64 bytes)
{
	u64 task = current_task();
	struct thread *thread;

	if (!is_target(task))
		return 1;
	thread = begin_call(ctx, task);
	if (!thread)
		return 1;
	thread->call.bytes = bytes;
	if (is_wanted(bytes))
		thread->call.flags = CALL_RECORD;
	thread->call.function = FUNCTION_SIMPLE;
	return 0;
}

static __always_inline int enter_posix_memalign(struct pt_regs *ctx, u64 out, u64 bytes)
{
	u64 task = current_task();
	struct thread *thread;

	if (!is_target(task))
		return 1;
	thread = begin_call(ctx, task);
	if (!thread)
		return 1;
	thread->call.bytes = bytes;
	thread->call.pointer = out;
	if (is_wanted(bytes))
		thread->call.flags = CALL_RECORD;
	thread->call.function = FUNCTION_POSIX_MEMALIGN;
	return 0;
}

/*
 * The old record is taken out here and not at the return: by then another thread may have been
 * given the address.
 */
static __always_inline void take_old_block(struct call *call, u64 address)
{
	struct block_key key = key_of(address);
	struct block *old = bpf_map_lookup_elem(&blocks, &key);

	call->pointer = address;
	if (!old) {
		call->flags |= CALL_OLD_UNTRACKED;
		return;
	}
	call->old = *old;
	call->flags |= CALL_HAS_OLD;
	bpf_map_delete_elem(&blocks, &key);
}

static __always_inline int enter_realloc(struct pt_regs *ctx, u64 old, u64 bytes)
{
	u64 task = current_task();
	struct thread *thread;

	if (!is_target(task))
		return 1;
	thread = begin_call(ctx, task);
	if (!thread)
		return 1;
	thread->call.bytes = bytes;
	if (is_wanted(bytes))
		thread->call.flags = CALL_RECORD;
	if (old)
		take_old_block(&thread->call, old);
	thread->call.function = FUNCTION_REALLOC;
	return 0;
}

/* n * size as calloc and reallocarray see it: what overflows fails, whatever we remember. */
static __always_inline u64 product(u64 n, u64 size)
{
	return n * size;
}

static __always_inline bool is_recorded(const struct call *call)
{
	if (call->flags & CALL_RECORD)
		return true;
	COUNT(counters, COUNTER_UNRECORDED);
	return false;
}

/* Returns whether the new block is to be recorded. */
static __always_inline bool leave_realloc(u64 task, const struct call *call, u64 block)
{
	/* glibc's realloc(p, 0) frees p and returns NULL. */
	if (!block && (call->bytes || !call->pointer)) {
		struct block_key key = key_of(call->pointer);

		COUNT(counters, COUNTER_FAILED);
		if (call->flags & CALL_HAS_OLD)
			bpf_map_update_elem(&blocks, &key, &call->old, BPF_NOEXIST);
		return false;
	}
	if (call->flags & CALL_HAS_OLD) {
		account_free(call->old.stack, call->old.bytes);
		trace_block(task, EVENT_FREE, call->pointer, call->old.bytes, call->old.stack);
	} else if (call->flags & CALL_OLD_UNTRACKED) {
		COUNT(counters, COUNTER_UNTRACKED_FREES);
	}
	return block && is_recorded(call);
}

static __always_inline bool leave_alloc(const struct call *call, u64 block)
{
	if (!block) {
		COUNT(counters, COUNTER_FAILED);
		return false;
	}
	return is_recorded(call);
}

static __always_inline u64 block_of_posix_memalign(struct pt_regs *ctx, const struct call *call)
{
	return (u32)REGS_RESULT(ctx) ? 0 : read_user_word(call->pointer);
}

/* ---- mappings: streamed, and kept as intervals by user space ---- */

static __always_inline bool is_record_wanted(u64 bytes)
{
	return bytes >= min_bytes && bytes <= max_bytes;
}

static __always_inline void send_map(u64 task, u64 address, u64 bytes, u32 map_flags, u32 flags,
				     u32 slot)
{
	struct event event = {
		.kind = EVENT_MAP,
		.flags = flags,
		.address = address,
		.bytes = (bytes + PAGE_MASK) & ~PAGE_MASK,
		.stack = slot,
		.map_flags = map_flags,
	};

	if (!is_record_wanted(bytes))
		event.flags |= EVENT_FILTERED;
	send(&event, task, LOSS_MAPPING_EVENTS);
}

/* glibc reserves the heap of an arena with PROT_NONE; what malloc maps else is a block of its own. */
static __always_inline int enter_nested_mmap(struct thread *thread, u64 stack_pointer, u64 bytes,
					     u64 prot)
{
	if (prot != PROT_NONE)
		return 1;
	thread->arena_stack_pointer = stack_pointer;
	thread->arena_bytes = bytes;
	return 0;
}

static __always_inline int enter_mmap(struct pt_regs *ctx)
{
	u64 bytes = REGS_ARG2(ctx), prot = (u32)REGS_ARG3(ctx);
	u32 map_flags = REGS_ARG4(ctx);
	u64 task = current_task();
	struct thread *thread;

	if (!is_target(task))
		return 1;
	COUNT(counters, COUNTER_MAPPING_HITS);
	/* A file that takes nobody's place is nothing to us. */
	if (!(map_flags & (MAP_ANONYMOUS | MAP_FIXED)))
		return 1;
	thread = thread_of(task);
	if (!thread)
		return 1;
	if (is_inside_call(&thread->call, REGS_SP(ctx)))
		return enter_nested_mmap(thread, REGS_SP(ctx), bytes, prot);
	thread = begin_call(ctx, task);
	if (!thread)
		return 1;
	thread->call.bytes = bytes;
	thread->call.old_bytes = map_flags;
	thread->call.flags = map_flags & MAP_ANONYMOUS ? CALL_RECORD : CALL_FILE;
	thread->call.function = FUNCTION_MMAP;
	return 0;
}

static __always_inline bool leave_mmap(u64 task, const struct call *call, u64 address)
{
	if (address == MAP_FAILED) {
		COUNT(counters, COUNTER_FAILED);
		return false;
	}
	if (call->flags & CALL_FILE) {
		send_map(task, address, call->bytes, call->old_bytes, EVENT_FILE, STACK_UNKNOWN);
		return false;
	}
	COUNT(counters, COUNTER_MAPS);
	return true;
}

static __always_inline void leave_nested_mmap(struct pt_regs *ctx, u64 task, struct thread *thread)
{
	thread->arena_stack_pointer = 0;
	if (REGS_RESULT(ctx) != MAP_FAILED)
		send_map(task, REGS_RESULT(ctx), thread->arena_bytes, 0, EVENT_NESTED,
			 STACK_UNKNOWN);
}

/*
 * Sent at the entry: at the return the range may be another thread's already. What would fail
 * (not on a page, no length) is left out.
 */
static __always_inline int enter_munmap(struct pt_regs *ctx)
{
	struct event event = { .kind = EVENT_UNMAP };
	u64 task = current_task();
	u32 id = task;
	struct thread *thread;

	if (!is_target(task))
		return 0;
	COUNT(counters, COUNTER_MAPPING_HITS);
	event.address = REGS_ARG1(ctx);
	event.bytes = (REGS_ARG2(ctx) + PAGE_MASK) & ~PAGE_MASK;
	if (event.address & PAGE_MASK || !event.bytes)
		return 0;
	thread = bpf_map_lookup_elem(&threads, &id);
	if (thread && thread->freed && thread->freed - event.address < event.bytes) {
		/* free gives a large block back: the block's own record is gone already. */
		thread->freed = 0;
		return 0;
	}
	COUNT(counters, COUNTER_UNMAPS);
	send(&event, task, LOSS_MAPPING_EVENTS);
	return 0;
}

static __always_inline int enter_mremap(struct pt_regs *ctx)
{
	struct event event = { .kind = EVENT_REMAP_BEGIN };
	u64 task = current_task();
	struct thread *thread;

	if (!is_target(task))
		return 1;
	COUNT(counters, COUNTER_MAPPING_HITS);
	thread = begin_call(ctx, task);
	if (!thread)
		return 1;
	event.old_address = thread->call.pointer = REGS_ARG1(ctx);
	event.old_bytes = thread->call.old_bytes = (REGS_ARG2(ctx) + PAGE_MASK) & ~PAGE_MASK;
	thread->call.bytes = REGS_ARG3(ctx);
	thread->call.flags = CALL_RECORD;
	thread->call.function = FUNCTION_MREMAP;
	send(&event, task, LOSS_MAPPING_EVENTS);
	return 0;
}

static __always_inline void send_remap(u64 task, const struct call *call, u64 address, u32 slot)
{
	struct event event = {
		.kind = EVENT_REMAP_END,
		.address = address,
		.bytes = (call->bytes + PAGE_MASK) & ~PAGE_MASK,
		.old_address = call->pointer,
		.old_bytes = call->old_bytes,
		.stack = slot,
	};

	if (!is_record_wanted(call->bytes))
		event.flags = EVENT_FILTERED;
	send(&event, task, LOSS_MAPPING_EVENTS);
}

static __always_inline bool leave_mremap(u64 task, const struct call *call, u64 address)
{
	if (address == MAP_FAILED) {
		COUNT(counters, COUNTER_FAILED);
		send_remap(task, call, 0, STACK_UNKNOWN);
		return false;
	}
	COUNT(counters, COUNTER_REMAPS);
	return true;
}

/* ---- one return program for all functions: the call knows which one it was ---- */

static __always_inline bool is_to_be_recorded(u64 task, const struct call *call, u32 function,
					      u64 address)
{
	switch (function) {
	case FUNCTION_REALLOC:
		return leave_realloc(task, call, address);
	case FUNCTION_MMAP:
		return leave_mmap(task, call, address);
	case FUNCTION_MREMAP:
		return leave_mremap(task, call, address);
	default:
		return leave_alloc(call, address);
	}
}

static __noinline int leave_call(struct pt_regs *ctx)
{
	u64 task = current_task();
	u64 stack_pointer = REGS_SP(ctx) - RETURN_SLOT;
	u32 id = task, function, slot = STACK_UNKNOWN;
	struct thread *thread;
	struct call *call;
	u64 address;

	if (!is_target(task))
		return 0;
	thread = bpf_map_lookup_elem(&threads, &id);
	if (!thread)
		return 0;
	call = &thread->call;
	if (thread->arena_stack_pointer == stack_pointer) {
		leave_nested_mmap(ctx, task, thread);
		return 0;
	}
	/* The return of a call inside another one, or of one that began before we did. */
	if (!call->function || call->stack_pointer != stack_pointer)
		return 0;
	/* Before the paths part: the verifier would follow the walk once for each of them. */
	if (call->flags & CALL_RECORD)
		slot = stack_of_return(ctx, thread);

	function = call->function;
	address = function == FUNCTION_POSIX_MEMALIGN ? block_of_posix_memalign(ctx, call) :
							REGS_RESULT(ctx);
	if (is_to_be_recorded(task, call, function, address)) {
		if (function == FUNCTION_MMAP)
			send_map(task, address, call->bytes, call->old_bytes, 0, slot);
		else if (function == FUNCTION_MREMAP)
			send_remap(task, call, address, slot);
		else
			enter_block(task, address, call->bytes, slot);
	}
	call->function = FUNCTION_NONE;
	thread->arena_stack_pointer = 0;
	return 0;
}

static __always_inline int enter_free(struct pt_regs *ctx)
{
	u64 address = REGS_ARG1(ctx), bytes;
	u64 task = current_task();
	struct block_key key;
	struct block *block;
	u32 slot, id = task;

	if (!address || !is_target(task))
		return 0;
	key = key_of(address);
	block = bpf_map_lookup_elem(&blocks, &key);
	if (!block) {
		COUNT(counters, COUNTER_UNTRACKED_FREES);
		return 0;
	}
	slot = block->stack;
	bytes = block->bytes;
	if (bpf_map_delete_elem(&blocks, &key))
		return 0;
	account_free(slot, bytes);
	trace_block(task, EVENT_FREE, address, bytes, slot);
	if (bytes >= LARGE_BLOCK) {
		struct thread *thread = bpf_map_lookup_elem(&threads, &id);

		if (thread)
			thread->freed = address;
	}
	return 0;
}

/* ---- anchors ---- */

static __always_inline u64 probe_cookie(struct pt_regs *ctx)
{
	u64 address, *cookie;

	if (has_attach_cookie)
		return bpf_get_attach_cookie(ctx);
	address = REGS_IP(ctx);
	cookie = bpf_map_lookup_elem(&probe_cookies, &address);
	return cookie ? *cookie : 0;
}

static __always_inline u64 return_address(struct pt_regs *ctx)
{
#if defined(__TARGET_ARCH_x86)
	return read_user_word(REGS_SP(ctx));
#else
	return REGS_LINK(ctx);
#endif
}

/* The cookie: how far the function reaches below the probe (upper half) and above it. */
static __always_inline int enter_anchor(struct pt_regs *ctx)
{
	u64 task = current_task();
	struct anchor *anchors;
	struct thread *thread;
	u64 cookie;
	int i;

	if (!is_target(task))
		return 0;
	COUNT(counters, COUNTER_ANCHOR_HITS);
	thread = thread_of(task);
	if (!thread)
		return 0;
	cookie = probe_cookie(ctx);
	anchors = thread->anchors;
	/* One that still stands is kept; one that has returned, or jumped here, gives its place. */
	if (anchors[0].stack_pointer > REGS_SP(ctx) &&
	    read_user_word(anchors[0].stack_pointer) == anchors[0].caller) {
		for (i = MAX_ANCHORS - 1; i > 0; i--)
			anchors[i] = anchors[i - 1];
	}
	anchors[0].stack_pointer = REGS_SP(ctx);
	anchors[0].caller = return_address(ctx);
	anchors[0].frame_pointer = REGS_FP(ctx);
	anchors[0].start = REGS_IP(ctx) - (cookie >> 32);
	anchors[0].end = REGS_IP(ctx) + (u32)cookie;
	return 0;
}

/* ---- programs ---- */

/* 6.12 has the first form, 7.2 the second. */
extern bool bpf_session_is_return___plain(void) __ksym __weak;
extern bool bpf_session_is_return___ctx(void *ctx) __ksym __weak;

static __always_inline bool is_session_return(void *ctx)
{
	if (bpf_ksym_exists(bpf_session_is_return___ctx))
		return bpf_session_is_return___ctx(ctx);
	if (bpf_ksym_exists(bpf_session_is_return___plain))
		return bpf_session_is_return___plain();
	return false;
}

static __always_inline int enter_role(struct pt_regs *ctx, u64 role)
{
	switch (role) {
	case ROLE_MALLOC:
		return enter_simple(ctx, REGS_ARG1(ctx));
	case ROLE_CALLOC:
		return enter_simple(ctx, product(REGS_ARG1(ctx), REGS_ARG2(ctx)));
	case ROLE_MEMALIGN:
		return enter_simple(ctx, REGS_ARG2(ctx));
	case ROLE_POSIX_MEMALIGN:
		return enter_posix_memalign(ctx, REGS_ARG1(ctx), REGS_ARG3(ctx));
	case ROLE_REALLOC:
		return enter_realloc(ctx, REGS_ARG1(ctx), REGS_ARG2(ctx));
	case ROLE_REALLOCARRAY:
		return enter_realloc(ctx, REGS_ARG1(ctx), product(REGS_ARG2(ctx), REGS_ARG3(ctx)));
	case ROLE_MMAP:
		return enter_mmap(ctx);
	case ROLE_MREMAP:
		return enter_mremap(ctx);
	default:
		return 1;
	}
}

/*
 * The kernel pairs entry and return of a session (6.13), for less than two probes cost. The
 * attach cookie is the role: kernels with sessions have cookies.
 */
SEC("uprobe.session")
int call_session(struct pt_regs *ctx)
{
	if (is_session_return(ctx))
		return leave_call(ctx);
	return enter_role(ctx, bpf_get_attach_cookie(ctx));
}

/* Elsewhere each entry is a program of its own, and the return another. */
#define ENTRY(name, role)                                                                          \
	SEC("uprobe")                                                                              \
	int name##_enter(struct pt_regs *ctx)                                                      \
	{                                                                                          \
		enter_role(ctx, role);                                                             \
		return 0;                                                                          \
	}

ENTRY(malloc, ROLE_MALLOC)
ENTRY(calloc, ROLE_CALLOC)
ENTRY(memalign, ROLE_MEMALIGN)
ENTRY(posix_memalign, ROLE_POSIX_MEMALIGN)
ENTRY(realloc, ROLE_REALLOC)
ENTRY(reallocarray, ROLE_REALLOCARRAY)
ENTRY(mmap, ROLE_MMAP)
ENTRY(mremap, ROLE_MREMAP)

SEC("uretprobe")
int call_leave(struct pt_regs *ctx)
{
	return leave_call(ctx);
}

SEC("uprobe")
int free_enter(struct pt_regs *ctx)
{
	return enter_free(ctx);
}

SEC("uprobe")
int munmap_enter(struct pt_regs *ctx)
{
	return enter_munmap(ctx);
}

SEC("uprobe")
int anchor_enter(struct pt_regs *ctx)
{
	return enter_anchor(ctx);
}

/* A new image: nothing of the old one is left, its return probes and its text neither. */
SEC("tp_btf/sched_process_exec")
int process_exec(void *ctx)
{
	struct event event = { .kind = EVENT_EXEC };
	u64 task = current_task();

	if (task >> 32 != target_process)
		return 0;
	__sync_fetch_and_add(&generation, 1);
	trampoline = 0;
	text_ranges[0].start = 0;
	text_ranges[0].end = TEXT_ANYWHERE;
	send(&event, task, LOSS_MAPPING_EVENTS);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int thread_exit(void *ctx)
{
	u64 task = current_task();
	u32 id = task;

	if (task >> 32 == target_process)
		bpf_map_delete_elem(&threads, &id);
	return 0;
}

/* A struct that goes through a ring buffer alone has no place in the skeleton without this. */
struct event unused_event = {};
