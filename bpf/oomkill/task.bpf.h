/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a task is, and what it has. */
#ifndef MEMTOOLS_OOMKILL_TASK_BPF_H
#define MEMTOOLS_OOMKILL_TASK_BPF_H

static __always_inline struct task_struct *current_task(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

/* x86-64's, and arm64's with small pages, where the kernel does not say it. */
#define KERNEL_STACK_BYTES 16384

static __always_inline u32 kernel_stack_bytes(void)
{
	u32 bytes = bpf_core_type_size(union thread_union);

	return bytes ? bytes : KERNEL_STACK_BYTES;
}

static __always_inline struct mm_struct *memory_of(struct task_struct *task)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);

	/* A thread that has let go of it; the OOM killer remembers it. */
	return mm ? mm : BPF_CORE_READ(task, signal, oom_mm);
}

static __always_inline u64 pages(s64 count)
{
	return count > 0 ? count : 0;
}

/*
 * The kernel's log has `count` of a counter, and from 7.0 on its exact value; so has this. Nothing
 * in the kernel's types tells which. Not static: the verifier follows it once.
 */
__noinline u64 counter_pages(u64 address)
{
	struct percpu_counter *counter = (void *)address;
	s64 sum = BPF_CORE_READ(counter, count);
	u64 own = (u64)BPF_CORE_READ(counter, counters), offset = 0;
	s32 delta = 0;
	u32 i;

	for (i = 0; i < MAX_CPUS && i < counted_cpus; i++) {
		bpf_probe_read_kernel(&offset, sizeof(offset), &__per_cpu_offset + i * sizeof(u64));
		bpf_probe_read_kernel(&delta, sizeof(delta), (void *)(own + offset));
		sum += delta;
	}
	return sum > 0 ? sum : 0;
}

struct resident {
	u64 anon;
	u64 file;
	u64 shmem;
	u64 swap;
};

static __always_inline void read_resident(struct mm_struct *mm, struct resident *resident)
{
#ifndef WITHOUT_RSS_STAT_COUNT
	struct mm_struct___count *old = (void *)mm;

	if (bpf_core_field_exists(old->rss_stat.count)) {
		resident->file = pages(BPF_CORE_READ(old, rss_stat.count[MM_FILEPAGES].counter));
		resident->anon = pages(BPF_CORE_READ(old, rss_stat.count[MM_ANONPAGES].counter));
		resident->swap = pages(BPF_CORE_READ(old, rss_stat.count[MM_SWAPENTS].counter));
		resident->shmem = pages(BPF_CORE_READ(old, rss_stat.count[MM_SHMEMPAGES].counter));
		/* As in parent_of(). */
		asm volatile("" : "+r"(resident) : : "memory");
		return;
	}
#endif
	resident->file = counter_pages((u64)&mm->rss_stat[MM_FILEPAGES]);
	resident->anon = counter_pages((u64)&mm->rss_stat[MM_ANONPAGES]);
	resident->swap = counter_pages((u64)&mm->rss_stat[MM_SWAPENTS]);
	resident->shmem = counter_pages((u64)&mm->rss_stat[MM_SHMEMPAGES]);
}

static __always_inline void read_task(struct task_struct *task, struct oom_task *to)
{
	to->process = BPF_CORE_READ(task, tgid);
	to->thread = BPF_CORE_READ(task, pid);
	to->uid = BPF_CORE_READ(task, real_cred, uid.val);
	to->oom_score_adj = BPF_CORE_READ(task, signal, oom_score_adj);
	to->start_boottime_ns = BPF_CORE_READ(task, start_boottime);
	BPF_CORE_READ_INTO(&to->comm, task, comm);
	to->memory_cgroup = BPF_CORE_READ(memory_css(task), cgroup, kn, id);
}

static __always_inline void read_victim(struct task_struct *task, struct oom_victim *to)
{
	struct mm_struct *mm = memory_of(task);
	struct resident resident = {};

	read_task(task, &to->task);
	read_resident(mm, &resident);
	to->total_vm = BPF_CORE_READ(mm, total_vm);
	to->pgtables_bytes = BPF_CORE_READ(mm, pgtables_bytes.counter);
	to->anon_rss = resident.anon;
	to->file_rss = resident.file;
	to->shmem_rss = resident.shmem;
	to->swap = resident.swap;
}

/* Names the processes of a domain, threads left out. */
static __always_inline int list_process(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct oom_process process = {};
	struct resident resident = {};
	struct mm_struct *mm;

	if (!task || BPF_CORE_READ(task, pid) != BPF_CORE_READ(task, tgid))
		return 0;
	mm = BPF_CORE_READ(task, mm);
	if (!mm || BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return 0;
	if (wanted_cgroup && !is_within(memory_css(task), wanted_cgroup))
		return 0;
	read_resident(mm, &resident);
	process.process = BPF_CORE_READ(task, tgid);
	process.oom_score_adj = BPF_CORE_READ(task, signal, oom_score_adj);
	process.anon_rss = resident.anon;
	process.file_rss = resident.file;
	process.shmem_rss = resident.shmem;
	process.swap = resident.swap;
	BPF_CORE_READ_INTO(&process.comm, task, comm);
	bpf_seq_write(ctx->meta->seq, &process, sizeof(process));
	return 0;
}

#endif
