/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How long functions take: of programs by uprobes, of the kernel by trampolines (fentry), kprobes
 * on many functions at once, or single ones.
 *
 * Which function a probe stands in, its cookie tells. Before 5.15 there are none: then functions of
 * the kernel are found by address. Functions of programs have programs of their own there, with
 * `own_function`, as have trampolines everywhere.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "atomic.h"
#include "loss.h"
#include "hash.h"
#include "current.bpf.h"
#include "cgroup.bpf.h"
#include "select.bpf.h"
#include "session.bpf.h"
#include "own_stack.bpf.h"
#include "walk.bpf.h"
#include "funclatency.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile u32 has_attach_cookie = 0;
const volatile u32 own_function = 0;
/* No other function is traced: what cookies would say is known. */
const volatile u32 has_one_function = 0;
/* How many arguments it has, for a trampoline. */
const volatile u32 own_arguments = 0;

#include "funclatency/select.bpf.h"
#include "funclatency/counts.bpf.h"
#include "funclatency/calls.bpf.h"
#include "funclatency/slow.bpf.h"

static __always_inline u64 cookie_of(void *ctx)
{
	return has_attach_cookie ? bpf_get_attach_cookie(ctx) : own_function;
}

static __always_inline u32 function_of(void *ctx)
{
	return has_one_function ? 0 : cookie_of(ctx) & COOKIE_FUNCTION;
}

/* Where probes have no cookies: functions of the kernel by their addresses. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* user space sets it: as many as there are functions */
	__type(key, u64);
	__type(value, u32);
} numbers SEC(".maps");

static __always_inline u64 return_address_of(struct pt_regs *ctx)
{
#if defined(__TARGET_ARCH_x86)
	u64 address = 0;

	bpf_probe_read_user(&address, sizeof(address), (const void *)REGS_SP(ctx));
	return address;
#else
	return REGS_LINK(ctx);
#endif
}

/* Where a function returns to; after a tail call the kernel holds that for the one before. */
static __noinline u64 caller_of(struct pt_regs *ctx, u32 depth)
{
	struct call_details *outer;

	if (!depth || !is_return_held(REGS_SP(ctx)))
		return return_address_of(ctx);
	outer = details_at(known_details(), depth - 1);
	return outer ? outer->return_address : 0;
}

/* `false`: nobody waits for the return. */
static __always_inline bool enter(struct pt_regs *ctx, u32 function, u32 flags, u64 *since)
{
	struct call_details *details;
	struct function_call *call;
	u32 depth;

	call = begin_call(function, REGS_SP(ctx), flags, &depth);
	if (!call)
		return false;
	/* Else the compiler computes places before it is known that there is one. */
	asm volatile("" : "+r"(call));
	if (wants_slow) {
		details = details_at(own_details(), depth);
		if (details) {
			details->arguments[0] = REGS_ARG1(ctx);
			details->arguments[1] = REGS_ARG2(ctx);
			details->arguments[2] = REGS_ARG3(ctx);
			details->arguments[3] = REGS_ARG4(ctx);
			details->arguments[4] = REGS_ARG5(ctx);
			details->arguments[5] = REGS_ARG6(ctx);
			if (wants_stack && !is_kernel)
				details->return_address = caller_of(ctx, depth);
		}
	}
	*since = call->since = bpf_ktime_get_ns();
	return true;
}

static __always_inline int leave(void *ctx, u32 function, u64 stack_pointer, u64 since, u64 result,
				 u64 frame_pointer, bool is_certain)
{
	u64 now = bpf_ktime_get_ns();
	struct function_stats *stats;
	struct ended_call ended;

	if (!end_call(&ended, function, stack_pointer, since, now, is_certain))
		return 0;
	function = ended.call->function;
	stats = stats_of(function);
	if (!stats)
		return 0;
	/* Else the compiler computes places before it is known that there is one. */
	asm volatile("" : "+r"(stats));
	ended.ns -= ended.ns < stats->probes_ns ? ended.ns : stats->probes_ns;
	if (wants_slow && ended.ns >= READ_ONCE(slow_ns))
		tell_slow(ctx, &ended, now, result, frame_pointer);
	/* Now its place can be another's. */
	ended.call->stack_pointer = 0;
	barrier();
	ended.thread->depth--;
	count_call(stats, ended.ns);
	if (split != SPLIT_NONE)
		count_split(function, ended.ns, result);
	return 0;
}

/* ---- functions of programs ---- */

SEC("uprobe")
int on_user_entry(struct pt_regs *ctx)
{
	u64 since;

	STAY_ON_OWN_STACK(ctx, no_probe);
	enter(ctx, function_of(ctx), CALL_BY_PROBE, &since);
	return 0;
}

/* The same of a function whose ends are probed one by one. */
SEC("uprobe")
int on_user_entry_alone(struct pt_regs *ctx)
{
	u64 since;

	STAY_ON_OWN_STACK(ctx, no_probe);
	enter(ctx, function_of(ctx), 0, &since);
	return 0;
}

SEC("uretprobe")
int on_user_return(struct pt_regs *ctx)
{
	STAY_ON_OWN_STACK(ctx, no_probe);
	return leave(ctx, function_of(ctx), REGS_SP(ctx) - RETURN_SLOT, 0, REGS_RESULT(ctx),
		     REGS_FP(ctx), true);
}

#if defined(__TARGET_ARCH_x86)
enum {
	FLAG_CARRY = 1 << 0,
	FLAG_PARITY = 1 << 2,
	FLAG_ZERO = 1 << 6,
	FLAG_SIGN = 1 << 7,
	FLAG_OVERFLOW = 1 << 11,
};

/* Whether a conditional jump is taken; the lowest bit turns a condition round. */
static __always_inline bool is_taken(struct pt_regs *ctx, u32 condition)
{
	u64 flags = ctx->flags;
	bool is_less = !(flags & FLAG_SIGN) != !(flags & FLAG_OVERFLOW);
	bool holds;

	switch (condition >> 1) {
	case 0:
		holds = flags & FLAG_OVERFLOW;
		break;
	case 1:
		holds = flags & FLAG_CARRY;
		break;
	case 2:
		holds = flags & FLAG_ZERO;
		break;
	case 3:
		holds = flags & (FLAG_CARRY | FLAG_ZERO);
		break;
	case 4:
		holds = flags & FLAG_SIGN;
		break;
	case 5:
		holds = flags & FLAG_PARITY;
		break;
	case 6:
		holds = is_less;
		break;
	default:
		holds = is_less || flags & FLAG_ZERO;
	}
	return holds != (condition & 1);
}
#else
static __always_inline bool is_taken(struct pt_regs *ctx, u32 condition)
{
	return true;
}
#endif

/* An instruction by which a function ends: the return address is on top of the stack. */
SEC("uprobe")
int on_user_exit(struct pt_regs *ctx)
{
	u64 cookie = cookie_of(ctx);
	u32 kind = cookie >> COOKIE_KIND & 0xf;

	STAY_ON_OWN_STACK(ctx, no_probe);
	if (kind == EXIT_CONDITIONAL && !is_taken(ctx, cookie >> COOKIE_CONDITION & 0xf))
		return 0;
	/* What looks like a jump to another function can be one to a part of this one. */
	return leave(ctx, cookie & COOKIE_FUNCTION, REGS_SP(ctx), 0, REGS_RESULT(ctx), REGS_FP(ctx),
		     kind == EXIT_RETURN);
}

SEC("uprobe.session")
int on_user_session(struct pt_regs *ctx)
{
	u32 function = function_of(ctx);
	u64 since;

	STAY_ON_OWN_STACK(ctx, no_session);
	if (is_session_return(ctx))
		return leave(ctx, function, REGS_SP(ctx) - RETURN_SLOT, 0, REGS_RESULT(ctx),
			     REGS_FP(ctx), true);
	/* 1: the kernel need not hold the return. */
	return !enter(ctx, function, CALL_BY_PROBE, &since);
}

/* ---- functions of the kernel ---- */

SEC("kprobe")
int on_kernel_entry(struct pt_regs *ctx)
{
	u64 address = REGS_IP(ctx) - KPROBE_IP, since;
	u32 *number;

	if (has_one_function || has_attach_cookie) {
		enter(ctx, function_of(ctx), 0, &since);
		return 0;
	}
	number = bpf_map_lookup_elem(&numbers, &address);
	if (number)
		enter(ctx, *number, 0, &since);
	return 0;
}

SEC("kretprobe")
int on_kernel_return(struct pt_regs *ctx)
{
	bool is_known = has_one_function || has_attach_cookie;
	u32 function = is_known ? function_of(ctx) : ANY_FUNCTION;

	return leave(ctx, function, REGS_SP(ctx) - RETURN_SLOT, 0, REGS_RESULT(ctx), 0, true);
}

/* The kernel keeps a word for each call: when it began. */
SEC("kprobe.session")
int on_kernel_session(struct pt_regs *ctx)
{
	u64 *began = session_cookie(ctx), since;
	u32 function = function_of(ctx);

	if (!began)
		return 0;
	if (is_session_return(ctx))
		return leave(ctx, function, 0, *began, REGS_RESULT(ctx), 0, true);
	if (!enter(ctx, function, 0, &since))
		return 1;
	*began = since;
	return 0;
}

/* A number, and not a pointer: with those the verifier lets nobody calculate. */
static __always_inline u64 address_of(void *ctx)
{
	u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), &ctx);
	return address;
}

/* A trampoline's frame is the same at the entry and at the return: where it lies stands for the
 * stack pointer. */
SEC("fentry/bpf_fentry_test1")
int on_trampoline_entry(u64 *ctx)
{
	u32 bytes = (own_arguments < MAX_ARGUMENTS ? own_arguments : MAX_ARGUMENTS) * 8;
	struct call_details *details;
	struct function_call *call;
	u32 depth;

	call = begin_call(own_function, address_of(ctx), 0, &depth);
	if (!call)
		return 0;
	asm volatile("" : "+r"(call));
	if (wants_slow) {
		details = details_at(own_details(), depth);
		if (details)
			bpf_probe_read_kernel(details->arguments, bytes, ctx);
	}
	call->since = bpf_ktime_get_ns();
	return 0;
}

SEC("fexit/bpf_fentry_test1")
int on_trampoline_return(u64 *ctx)
{
	u64 result = 0;

	if (wants_slow || split == SPLIT_RETURN)
		bpf_probe_read_kernel(&result, sizeof(result), ctx + own_arguments);
	return leave(ctx, own_function, address_of(ctx), 0, result, 0, true);
}

/* ---- threads ---- */

SEC("raw_tp/sched_process_exit")
int on_exit(void *ctx)
{
	leave_all();
	end_calls();
	end_details();
	return 0;
}

SEC("raw_tp/sched_process_exec")
int on_exec(u64 *ctx)
{
	rename_calls(ctx[1]);
	rename_details(ctx[1]);
	if (!is_kernel)
		leave_all();
	return 0;
}

/* What only the ring buffer holds has no place in the skeleton without these. */
const volatile struct slow_call_with_stack unused_slow_call = {};
