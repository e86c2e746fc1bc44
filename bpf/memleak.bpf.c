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
#define TARGET_COMES_LATER
#include "session.bpf.h"
#include "own_stack.bpf.h"
#include "memleak/mappings.bpf.h"
#include "memleak/sampler.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Freed blocks from this size on may be given back by a munmap inside free. */
#define LARGE_BLOCK (64 << 10)

/* All ones for an address of user space, and 0 for 0. */
static __always_inline u64 all_ones_if(u64 address)
{
	return (u64)((s64)-address >> 63);
}

/* The slot of the stack of a call that just returned, or is about to. */
static __always_inline u32 stack_of_return(struct pt_regs *ctx, struct thread *thread,
					   bool by_helper)
{
	struct walk *walk = &thread->walk;
	u64 caller = thread->call.caller;

	/* Without a branch, which would double what the verifier follows. */
	walk->frames[0] = caller | (REGS_IP(ctx) & ~all_ones_if(caller));
	walk->start_depth = 1;
	walk->flags = 0;
	walk->frame_pointer = REGS_FP(ctx);
	walk->stack_pointer = REGS_SP(ctx) + (RETURN_SLOT & all_ones_if(caller));
	return slot_of_walk(thread, walk->frames[0], by_helper);
}

/*
 * The call of an allocation function made ready, or NULL: not the target, or inside another call.
 * At its return `function` says what to do.
 */
static __always_inline struct call *begin_alloc(struct pt_regs *ctx, u64 bytes)
{
	u64 task = current_task();
	struct call *call;

	if (!is_target(task))
		return NULL;
	call = begin_call(ctx, thread_of(task), bytes);
	if (call && is_wanted(bytes))
		call->flags = CALL_RECORD;
	return call;
}

/* For a session program: 1 means that no return is wanted. */
static __always_inline int enter_simple(struct pt_regs *ctx, u64 bytes)
{
	struct call *call = begin_alloc(ctx, bytes);

	if (!call)
		return 1;
	call->function = FUNCTION_SIMPLE;
	return 0;
}

static __always_inline int enter_posix_memalign(struct pt_regs *ctx, u64 out, u64 bytes)
{
	struct call *call = begin_alloc(ctx, bytes);

	if (!call)
		return 1;
	call->pointer = out;
	call->function = FUNCTION_POSIX_MEMALIGN;
	return 0;
}

/*
 * The old record is taken out here and not at the return: by then another thread may have been
 * given the address.
 */
static __always_inline void take_old_block(struct call *call, u64 address)
{
	call->pointer = address;
	call->flags |= take_block(address, &call->old) ? CALL_HAS_OLD : CALL_OLD_UNTRACKED;
}

static __always_inline int enter_realloc(struct pt_regs *ctx, u64 old, u64 bytes)
{
	struct call *call = begin_alloc(ctx, bytes);

	if (!call)
		return 1;
	if (old)
		take_old_block(call, old);
	call->function = FUNCTION_REALLOC;
	return 0;
}

/* operator new: an exception that passes would not know a return probe's trampoline. */
static __always_inline int enter_new(struct pt_regs *ctx, u64 bytes)
{
	struct call *call = begin_alloc(ctx, bytes);

	if (!call)
		return 0;
	call->caller = return_address(ctx);
	call->function = FUNCTION_SIMPLE;
	return 0;
}

/* n * size as calloc and reallocarray see it: what overflows is asked for in vain. */
static __always_inline u64 product(u64 n, u64 size)
{
	u64 most = ~0ULL;

	if ((n | size) >> 32 && size) {
		most /= size;
		/* Or the compiler makes a 128-bit product of it, which BPF has not. */
		barrier_var(most);
		if (n > most)
			return ~0ULL;
	}
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
		COUNT(counters, COUNTER_FAILED);
		if (call->flags & CALL_HAS_OLD)
			put_block(call->pointer, &call->old);
		return false;
	}
	if (call->flags & CALL_HAS_OLD) {
		account_free(&call->old);
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

/* jemalloc's xallocx returns the size that there is, large enough or not. */
static __always_inline int enter_xallocx(struct pt_regs *ctx, u64 block, u64 bytes)
{
	int unwanted = enter_realloc(ctx, block, bytes);
	u32 id = current_task();
	struct thread *thread;

	if (!unwanted) {
		thread = bpf_map_lookup_elem(&threads, &id);
		if (thread)
			thread->call.flags |= CALL_IN_PLACE;
	}
	return unwanted;
}

static __always_inline u64 block_of_realloc(struct pt_regs *ctx, const struct call *call)
{
	if (!(call->flags & CALL_IN_PLACE))
		return REGS_RESULT(ctx);
	return REGS_RESULT(ctx) >= call->bytes ? call->pointer : 0;
}

static __always_inline u64 block_of_posix_memalign(struct pt_regs *ctx, const struct call *call)
{
	return (u32)REGS_RESULT(ctx) ? 0 : read_user_word(call->pointer);
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

static __always_inline int leave(struct pt_regs *ctx, bool by_helper)
{
	u64 task = current_task();
	u64 stack_pointer = REGS_SP(ctx) - RETURN_SLOT;
	u32 id = task, function, slot = STACK_UNKNOWN;
	u64 own_slot;
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
	own_slot = stack_pointer + (RETURN_SLOT & all_ones_if(call->caller));
	if (!call->function || call->stack_pointer != own_slot)
		return 0;
	function = call->function;
	if (function == FUNCTION_POSIX_MEMALIGN)
		address = block_of_posix_memalign(ctx, call);
	else if (function == FUNCTION_REALLOC)
		address = block_of_realloc(ctx, call);
	else
		address = REGS_RESULT(ctx);
	/* Before the paths part: the verifier would follow the walk once for each of them. */
	if (call->flags & CALL_RECORD && address && address != MAP_FAILED)
		slot = stack_of_return(ctx, thread, by_helper);

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

static __noinline int leave_call(struct pt_regs *ctx)
{
	return leave(ctx, false);
}

static __noinline int leave_call_by_helper(struct pt_regs *ctx)
{
	return leave(ctx, true);
}

static __always_inline int enter_free(struct pt_regs *ctx)
{
	u64 address = REGS_ARG1(ctx);
	u64 task = current_task();
	struct thread *thread;
	struct block block;

	if (!address || !is_target(task))
		return 0;
	if (!take_block(address, &block)) {
		if (frees_nest) {
			thread = thread_of(task);
			if (thread && thread->freed_outside == address)
				return 0;
		}
		/* realloc lets go of its old block, which was taken out at its entry. */
		thread = thread_of(task);
		if (thread && is_inside_call(&thread->call, REGS_SP(ctx), REGS_IP(ctx)))
			return 0;
		COUNT(counters, COUNTER_UNTRACKED_FREES);
		if (thread)
			thread->freed = address;
		return 0;
	}
	account_free(&block);
	trace_block(task, EVENT_FREE, address, block.bytes, block.stack);
	if (frees_nest || block.bytes >= LARGE_BLOCK) {
		thread = thread_of(task);
		if (thread) {
			thread->freed_outside = address;
			if (block.bytes >= LARGE_BLOCK)
				thread->freed = address;
		}
	}
	return 0;
}

static __always_inline int enter_anchor(struct pt_regs *ctx)
{
	u64 task = current_task();
	struct thread *thread;

	if (!is_target(task))
		return 0;
	COUNT(counters, COUNTER_ANCHOR_HITS);
	thread = thread_of(task);
	if (thread)
		drop_anchor(thread->anchors, ctx);
	return 0;
}

/* ---- programs ---- */

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
	case ROLE_RUST_REALLOC:
		return enter_realloc(ctx, REGS_ARG1(ctx), REGS_ARG4(ctx));
	case ROLE_MMAP:
		return enter_mmap(ctx);
	case ROLE_MREMAP:
		return enter_mremap(ctx);
	case ROLE_XALLOCX:
		return enter_xallocx(ctx, REGS_ARG1(ctx), REGS_ARG2(ctx));
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
	STAY_ON_OWN_STACK(ctx, no_session);
	/* One place for both, or the verifier would follow it twice. */
	if (is_session_return(ctx) || bpf_get_attach_cookie(ctx) == ROLE_END) {
		leave_call(ctx);
		return 1;
	}
	return enter_role(ctx, bpf_get_attach_cookie(ctx));
}

/* The same where it has to be loaded in no time. */
SEC("uprobe.session")
int call_session_by_helper(struct pt_regs *ctx)
{
	STAY_ON_OWN_STACK(ctx, no_session);
	if (is_session_return(ctx) || bpf_get_attach_cookie(ctx) == ROLE_END) {
		leave_call_by_helper(ctx);
		return 1;
	}
	return enter_role(ctx, bpf_get_attach_cookie(ctx));
}

/* Elsewhere each entry is a program of its own, and the return another. */
#define ENTRY(name, role)                                                                          \
	SEC("uprobe")                                                                              \
	int name##_enter(struct pt_regs *ctx)                                                      \
	{                                                                                          \
		STAY_ON_OWN_STACK(ctx, no_probe);                                                  \
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
ENTRY(xallocx, ROLE_XALLOCX)
ENTRY(rust_realloc, ROLE_RUST_REALLOC)

SEC("uprobe")
int new_enter(struct pt_regs *ctx)
{
	STAY_ON_OWN_STACK(ctx, no_probe);
	return enter_new(ctx, REGS_ARG1(ctx));
}

/* At a return, or at an instruction by which a function returns that has no return probe. */
SEC("uretprobe")
int call_leave(struct pt_regs *ctx)
{
	STAY_ON_OWN_STACK(ctx, no_probe);
	return leave_call(ctx);
}

SEC("uretprobe")
int call_leave_by_helper(struct pt_regs *ctx)
{
	STAY_ON_OWN_STACK(ctx, no_probe);
	return leave_call_by_helper(ctx);
}

SEC("uprobe")
int free_enter(struct pt_regs *ctx)
{
	STAY_ON_OWN_STACK(ctx, no_probe);
	return enter_free(ctx);
}

SEC("uprobe")
int sample_enter(struct pt_regs *ctx)
{
	STAY_ON_OWN_STACK(ctx, no_probe);
	return enter_sample(ctx);
}

SEC("uprobe")
int sample_free_enter(struct pt_regs *ctx)
{
	STAY_ON_OWN_STACK(ctx, no_probe);
	return enter_sample_free(ctx);
}

SEC("uprobe")
int munmap_enter(struct pt_regs *ctx)
{
	STAY_ON_OWN_STACK(ctx, no_probe);
	return enter_munmap(ctx);
}

/* dlclose: from here on text addresses may come to mean something else. */
SEC("uprobe")
int unload_enter(struct pt_regs *ctx)
{
	STAY_ON_OWN_STACK(ctx, no_probe);
	if (is_target(current_task()))
		add(&epoch, 1);
	return 0;
}

SEC("uprobe")
int anchor_enter(struct pt_regs *ctx)
{
	STAY_ON_OWN_STACK(ctx, no_probe);
	return enter_anchor(ctx);
}

SEC("tp_btf/sched_process_exec")
int process_exec(void *ctx)
{
	struct event event = {.kind = EVENT_EXEC};
	u64 task = current_task();

	if (task >> 32 != target_process)
		return 0;
	begin_image();
	allow_any_text();
	send_at_once(&event, task);
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
