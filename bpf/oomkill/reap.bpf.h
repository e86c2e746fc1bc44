/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* When the memory is back: a victim is reaped, or its last thread has exited. */
#ifndef MEMTOOLS_OOMKILL_REAP_BPF_H
#define MEMTOOLS_OOMKILL_REAP_BPF_H

static __always_inline int report_end(u32 kind, u32 task)
{
	struct oom_end end = {
		.kind = kind,
		.task = task,
		.time_ns = bpf_ktime_get_ns(),
	};

	if (bpf_ringbuf_output(&events, &end, sizeof(end), 0))
		add(&lost_events, 1);
	return 0;
}

static __always_inline int report_freed(u64 mm)
{
	struct awaited *awaited = bpf_map_lookup_elem(&victims, &mm);
	u32 process;

	if (!awaited)
		return 0;
	process = awaited->process;
	bpf_map_delete_elem(&victims, &mm);
	return report_end(EVENT_EXITED, process);
}

/* The end of exit_mmap(): all is freed. */
static __always_inline int report_unmapped(u64 mm)
{
	return marked ? report_freed(mm) : 0;
}

/*
 * Where that cannot be seen (5.10): a thread has let go of its memory. From 6.16 on it would not
 * have done so yet.
 */
static __always_inline int report_exit(struct task_struct *task)
{
	if (!marked || BPF_CORE_READ(task, signal, live.counter) > 0)
		return 0;
	return report_freed((u64)BPF_CORE_READ(task, signal, oom_mm));
}

#endif
