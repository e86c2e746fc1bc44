/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The call that each thread has entered. */
#ifndef SYSCOUNT_ENTERED_BPF_H
#define SYSCOUNT_ENTERED_BPF_H

#include "thread_record.bpf.h"

THREAD_RECORDS(record, struct entered_call)

static __always_inline int tell_thread(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct thread_call thread = {};
	struct entered_call *record;

	if (!task || task->exit_state)
		return 0;
	record = record_of(task);
	if (!record)
		return 0;
	thread.entered = *record;
	if (by == BY_THREAD)
		BPF_CORE_READ_INTO(&thread.comm, task, comm);
	else
		BPF_CORE_READ_INTO(&thread.comm, task, group_leader, comm);
	bpf_seq_write(ctx->meta->seq, &thread, sizeof(thread));
	return 0;
}

#endif
