/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which system calls are made, how often they fail, how long they take, and which go on.
 *
 * A call is counted when it is entered, so that those that never return are counted too; only where
 * failures are asked for, it is counted when it returns. What only counts has no record of threads.
 * Events come by raw tracepoint, or by classic one where raw ones are preempted and lose events
 * (7.2).
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "atomic.h"
#include "loss.h"
#include "current.bpf.h"
#include "cgroup.bpf.h"
#include "select.bpf.h"
#include "syscount.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* enum row_by */
const volatile u32 by = BY_CALL;
/* Calls are timed. */
const volatile u32 times = 0;
/* Only calls that fail count; with this errno, if there is one. */
const volatile u32 only_errors = 0;
const volatile u32 wanted_errno = 0;
/* Errors are counted by errno. */
const volatile u32 by_errno = 0;
/* The running task can be read without a helper for each word (5.11). */
const volatile u32 has_current_task = 0;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CALL_COUNTERS);
	__type(key, u32);
	__type(value, u64);
} counters SEC(".maps");

#include "syscount/select.bpf.h"
#include "syscount/entered.bpf.h"
#include "syscount/counts.bpf.h"

#if defined(__TARGET_ARCH_x86)
static __always_inline bool is_32_bit(void)
{
	u32 status;

	if (has_current_task)
		status = bpf_get_current_task_btf()->thread_info.status;
	else
		status = BPF_CORE_READ((struct task_struct *)bpf_get_current_task(),
				       thread_info.status);
	return status & TS_COMPAT;
}
#else
static __always_inline bool is_32_bit(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, thread_info.flags) >> TIF_32BIT & 1;
}
#endif

/* Which call a number stands for. */
static __always_inline void read_call(struct call_key *key, s64 number)
{
	key->call = number;
	key->abi = ABI_NATIVE;
	if (is_32_bit()) {
		key->abi = ABI_COMPAT;
		return;
	}
#if defined(__TARGET_ARCH_x86)
	if (number > 0 && number & X32_SYSCALL_BIT) {
		key->call = number & ~X32_SYSCALL_BIT;
		key->abi = ABI_X32;
	}
#endif
}

/* Until the command's exec nothing counts: what comes before is our own doing. */
static __always_inline bool is_before_exec(s64 number)
{
	if (!waits_for_exec)
		return false;
	if (number != exec_calls[0] && number != exec_calls[1])
		return true;
	waits_for_exec = 0;
	return false;
}

static __always_inline int enter(s64 number)
{
	struct entered_call *record;
	struct call_stats *stats;
	struct call_key key = {};
	u64 task = current_task();

	if (!enabled || !is_wanted(task) || is_before_exec(number))
		return 0;
	read_call(&key, number);
	if (!is_wanted_call(&key))
		return 0;
	key.owner = owner_of(task);
	if (!only_errors) {
		stats = stats_of(&key);
		if (stats)
			add(&stats->count, 1);
		else
			COUNT(counters, LOST_ROWS);
	}
	if (!times)
		return 0;
	record = own_record();
	if (!record) {
		COUNT(counters, LOST_TIMES);
		return 0;
	}
	record->process = task >> 32;
	record->thread = task;
	record->owner = key.owner;
	record->call = key.call;
	record->abi = key.abi;
	record->is_inside = 1;
	record->since = bpf_ktime_get_ns();
	return 0;
}

/* The errno of a call that failed, or 0. What a signal handler's return leaves there is none. */
static __always_inline u32 errno_of(s64 result, s64 number)
{
	return result < 0 && result >= -MAX_ERRNO && number >= 0 ? -result : 0;
}

/* What the kernel says of a call that a signal has interrupted, and that may be made again. */
static __always_inline bool is_restart(u32 error)
{
	return error >= 512 && error <= 516 && error != 515;
}

static __always_inline bool is_wanted_error(u32 error)
{
	if (!error)
		return false;
	return !wanted_errno || error == wanted_errno ||
	       (wanted_errno == EINTR && is_restart(error));
}

enum end {
	TIMED,	  /* it was counted when it was entered */
	UNTIMED,  /* likewise, but nobody knows when that was */
	ANSWERED, /* seccomp, or a tracer, has answered it: nobody has seen it entered */
};

static __always_inline void count_end(struct call_key *key, u64 ns, u32 error, enum end end)
{
	struct call_stats *stats;

	if (only_errors && !is_wanted_error(error))
		return;
	stats = stats_of(key);
	if (!stats) {
		if (only_errors || end == ANSWERED)
			COUNT(counters, LOST_ROWS);
		return;
	}
	if (only_errors || end == ANSWERED)
		add(&stats->count, 1);
	if (error) {
		add(&stats->errors, 1);
		if (by_errno)
			count_cell(key, FIRST_ERRNO_CELL + error);
	}
	if (end == TIMED) {
		count_time(stats, ns);
		count_cell(key, histogram_slot(ns));
	}
}

/* A call that was entered, whoever is wanted by now. */
static __always_inline void end_entered(struct entered_call *record, u32 error, u64 now)
{
	struct call_key key = {
		.owner = record->owner,
		.call = record->call,
		.abi = record->abi,
	};

	record->is_inside = 0;
	count_end(&key, now - record->since, error, TIMED);
}

/* `number` is -1 where a signal handler returns. */
static __always_inline void end_other(struct entered_call *record, s64 number, u32 error)
{
	enum end end = record || !times ? ANSWERED : UNTIMED;
	struct call_key key = {};
	u64 task = current_task();

	if (!is_wanted(task) || waits_for_exec)
		return;
	if (times && !record) {
		/* The first return that is seen: of a call from before the start, or of fork. */
		record = own_record();
		if (record) {
			record->process = task >> 32;
			record->thread = task;
			return;
		}
	}
	if (number < 0)
		return;
	read_call(&key, number);
	if (!is_wanted_call(&key))
		return;
	key.owner = owner_of(task);
	count_end(&key, 0, error, end);
}

static __always_inline bool is_inside(struct entered_call *record)
{
	if (!record)
		return false;
	/* Else the compiler computes the place before it is known that there is one. */
	asm volatile("" : "+r"(record));
	return record->is_inside;
}

static __always_inline int leave(struct entered_call *record, s64 result, s64 number, u64 now)
{
	u32 error = errno_of(result, number);

	if (is_inside(record))
		end_entered(record, error, now);
	else
		end_other(record, number, error);
	return 0;
}

/* ---- where events come in ---- */

struct sys_enter_record {
	u64 common;
	s64 number;
};

struct sys_exit_record {
	u64 common;
	s64 number;
	s64 result;
};

/* Both have the registers first. */
SEC("raw_tp/sys_enter")
int on_enter(u64 *ctx)
{
	return enter(ctx[1]);
}

SEC("raw_tp/sys_exit")
int on_leave(u64 *ctx)
{
	struct entered_call *record = NULL;
	s64 result = ctx[1], number = 0;
	u64 now = 0;

	if (!enabled)
		return 0;
	if (times) {
		now = bpf_ktime_get_ns();
		record = known_record();
	}
	/* Only to know a failure, or which call it is, need it be read. */
	if (!is_inside(record) || (result < 0 && result >= -MAX_ERRNO))
		number = REGS_CALL(ctx[0]);
	return leave(record, result, number, now);
}

SEC("tracepoint/raw_syscalls/sys_enter")
int on_enter_record(struct sys_enter_record *ctx)
{
	return enter(ctx->number);
}

SEC("tracepoint/raw_syscalls/sys_exit")
int on_leave_record(struct sys_exit_record *ctx)
{
	struct entered_call *record = NULL;
	u64 now = 0;

	if (!enabled)
		return 0;
	if (times) {
		now = bpf_ktime_get_ns();
		record = known_record();
	}
	return leave(record, ctx->result, ctx->number, now);
}

SEC("raw_tp/task_newtask")
int on_fork(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];

	join_family(BPF_CORE_READ(task, pid), ctx[1]);
	return 0;
}

SEC("tracepoint/task/task_newtask")
int on_fork_record(struct trace_event_raw_task_newtask *ctx)
{
	join_family(ctx->pid, ctx->clone_flags);
	return 0;
}

static __always_inline int end_thread(void)
{
	if (follows)
		leave_family();
	if (times)
		end_record();
	return 0;
}

SEC("raw_tp/sched_process_exit")
int on_exit(void *ctx)
{
	return end_thread();
}

SEC("tracepoint/sched/sched_process_exit")
int on_exit_record(void *ctx)
{
	return end_thread();
}

SEC("raw_tp/sched_process_exec")
int on_exec(u64 *ctx)
{
	rename_record(ctx[1]);
	return 0;
}

SEC("iter/task")
int list_threads(struct bpf_iter__task *ctx)
{
	return tell_thread(ctx);
}

/* A struct that only an iterator writes has no place in the skeleton without this. */
const volatile struct thread_call unused_thread = {};
