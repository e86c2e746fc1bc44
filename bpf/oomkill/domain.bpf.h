/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whose memory ran out: the kernel's struct oom_control. It is the argument of oom_kill_process();
 * where that cannot be probed, it is looked for on the kernel stack of the thread that asked for
 * memory, where out_of_memory()'s callers keep it: it names the victim that it chose.
 */
#ifndef MEMTOOLS_OOMKILL_DOMAIN_BPF_H
#define MEMTOOLS_OOMKILL_DOMAIN_BPF_H

/* The kernel stack is searched in pieces of so many words. */
#define SEARCH_WORDS  16
#define SEARCH_BYTES  (SEARCH_WORDS * sizeof(u64))
#define SEARCH_PIECES 256
/* So many places that name the victim are looked at: a power of two. */
#define CANDIDATES 16

struct domain_state {
	struct oom_domain domain;
	u64 task;	/* the thread that runs the OOM killer */
	u64 invocation; /* when its first victim was marked; 0: not yet */
	u64 by_stack;
	u64 words[SEARCH_WORDS];
	u64 candidates[CANDIDATES]; /* in a ring, the innermost over the outermost */
	u64 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct domain_state);
} last_domain SEC(".maps");

static __always_inline struct domain_state *domain_state(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&last_domain, &zero);
}

static __always_inline void read_domain(struct oom_control *control, struct oom_domain *to)
{
	void *nodemask = BPF_CORE_READ(control, nodemask);

	to->control = (u64)control;
	to->chosen = (u64)BPF_CORE_READ(control, chosen);
	to->memcg = (u64)BPF_CORE_READ(control, memcg);
	to->total = BPF_CORE_READ(control, totalpages);
	to->points = BPF_CORE_READ(control, chosen_points);
	to->gfp = BPF_CORE_READ(control, gfp_mask);
	to->order = BPF_CORE_READ(control, order);
	to->constraint = BPF_CORE_READ(control, constraint);
	to->nodes = 0;
	if (nodemask)
		bpf_probe_read_kernel(&to->nodes, sizeof(to->nodes), nodemask);
}

/* oom_kill_process(struct oom_control *, const char *) begins. */
static __always_inline int note_domain(struct oom_control *control)
{
	struct domain_state *state = domain_state();

	if (!state)
		return 0;
	read_domain(control, &state->domain);
	state->invocation = 0;
	state->by_stack = 0;
	state->task = bpf_get_current_task();
	return 0;
}

/* What its fields can be. */
static __always_inline bool is_plausible(const struct oom_domain *domain)
{
	if (domain->constraint > CONSTRAINT_MEMCG)
		return false;
	if ((domain->constraint == CONSTRAINT_MEMCG) != (domain->memcg != 0))
		return false;
	return domain->order >= -1 && domain->order < 64 && domain->total &&
	       domain->total < 1ULL << 52;
}

/* All ones or zero; hidden from the compiler, which would make a branch of it. */
static __always_inline u64 is_set(u64 word)
{
	u64 negative = -word;

	asm volatile("" : "+r"(negative));
	return (u64)((s64)(word | negative) >> 63);
}

/*
 * The first and the last place of a word among those that were read; 0: none. Without branches, of
 * which each would double what the verifier has to follow (walk.bpf.h).
 */
static __always_inline void find_word(const u64 *words, u64 start, u64 wanted, u64 *first,
				      u64 *last)
{
	u64 at, is_other;
	u32 i;

	*first = 0;
	*last = 0;
	for (i = 0; i < SEARCH_WORDS; i++) {
		at = start + i * sizeof(u64);
		is_other = is_set(words[i] ^ wanted);
		*last = (*last & is_other) | (at & ~is_other);
		*first |= at & ~is_other & ~is_set(*first);
	}
}

/* The count is in a map, where the verifier does not follow it. */
static __always_inline void keep_candidate(struct domain_state *state, u64 at)
{
	u64 count = state->count;

	state->candidates[count & (CANDIDATES - 1)] = at;
	state->count = count + (is_set(at) & 1);
}

/* From the outermost frame inward: what lies below the stack pointer may be of an earlier call. */
static __always_inline void search_stack(struct domain_state *state, u64 stack, u64 victim)
{
	u64 pieces = kernel_stack_bytes() / SEARCH_BYTES;
	u64 start, first, last;
	u32 i;

	state->count = 0;
	for (i = 1; i <= SEARCH_PIECES && i <= pieces; i++) {
		start = stack + (pieces - i) * SEARCH_BYTES;
		if (bpf_probe_read_kernel(state->words, SEARCH_BYTES, (void *)start))
			break;
		find_word(state->words, start, victim, &first, &last);
		keep_candidate(state, last);
		keep_candidate(state, first);
	}
}

/* Not static: the verifier follows it once, and not from every state of its caller's. */
__noinline int find_domain(u64 stack, u64 victim)
{
	u32 chosen_at = bpf_core_field_offset(struct oom_control, chosen);
	struct domain_state *state = domain_state();
	u32 i;

	if (!state)
		return 0;
	search_stack(state, stack, victim);
	for (i = 0; i < CANDIDATES; i++) {
		if (i >= state->count)
			break;
		read_domain((void *)(state->candidates[i] - chosen_at), &state->domain);
		if (is_plausible(&state->domain))
			return 1;
	}
	return 0;
}

/* Whether what is remembered is of the call that this victim belongs to. */
static __always_inline bool is_same_call(struct domain_state *state, u64 task, u64 victim,
					 bool is_kill)
{
	struct oom_control *control = (void *)state->domain.control;

	if (!control || state->task != task)
		return false;
	/* Marked once a call: else this is another call, by a task at the same address. */
	if (state->domain.chosen == victim)
		return !state->invocation;
	/*
	 * Another thread of the chosen process, or the others of a cgroup that is killed as a
	 * whole: there the chosen one is named still. A task that is merely about to exit is chosen
	 * by nobody.
	 */
	return is_kill && (has_function || state->invocation) &&
	       (u64)BPF_CORE_READ(control, chosen) == state->domain.chosen &&
	       BPF_CORE_READ(control, totalpages) == state->domain.total;
}

/* The domain of a victim, or NULL. */
static __always_inline struct domain_state *find_domain_of(u64 victim, bool is_kill)
{
	struct domain_state *state = domain_state();
	u64 task = bpf_get_current_task(), leader;
	void *stack;

	if (!state)
		return 0;
	if (is_same_call(state, task, victim, is_kill))
		return state;
	state->domain.control = 0;
	if (has_function)
		return 0;
	stack = BPF_CORE_READ((struct task_struct *)task, stack);
	/* Chosen is the leader, also where another thread is marked because that one has exited. */
	leader = (u64)BPF_CORE_READ((struct task_struct *)victim, group_leader);
	if (!find_domain((u64)stack, victim) && !find_domain((u64)stack, leader)) {
		state->domain.control = 0;
		return 0;
	}
	state->invocation = 0;
	state->by_stack = 1;
	state->task = task;
	return state;
}

/* The figures of the memory cgroup that reached its limit. */
static __always_inline u32 read_memcg(struct oom_domain *domain)
{
	struct mem_cgroup *memcg = (void *)domain->memcg;
	u32 flags = KILL_HAS_MEMCG;

	domain->memory_cgroup = BPF_CORE_READ(memcg, css.cgroup, kn, id);
	domain->usage = pages(BPF_CORE_READ(memcg, memory.usage.counter));
	domain->limit = BPF_CORE_READ(memcg, memory.max);
	domain->peak = BPF_CORE_READ(memcg, memory.watermark);
	domain->failcnt = BPF_CORE_READ(memcg, memory.failcnt);
	domain->swap_usage = pages(BPF_CORE_READ(memcg, swap.usage.counter));
	domain->swap_limit = BPF_CORE_READ(memcg, swap.max);
	if (BPF_CORE_READ(memcg, css.cgroup, root, hierarchy_id))
		flags |= KILL_IS_V1 | KILL_HAS_FAILCNT;
#ifndef WITHOUT_TRACK_FAILCNT
	if (bpf_core_field_exists(struct page_counter___track, track_failcnt))
		return flags;
#endif
	return flags | KILL_HAS_FAILCNT;
}

/* Whether all of a memory cgroup is killed with the victim (memory.oom.group). */
static __always_inline bool is_group(struct cgroup_subsys_state *css, u64 domain_memcg)
{
	u32 css_at = bpf_core_field_offset(struct mem_cgroup, css);
	u32 i;

	for (i = 0; i < MAX_CGROUP_DEPTH && css; i++) {
		struct mem_cgroup *memcg = (void *)css - css_at;

		if (BPF_CORE_READ(memcg, oom_group))
			return true;
		if ((u64)memcg == domain_memcg)
			return false;
		css = BPF_CORE_READ(css, parent);
	}
	return false;
}

#endif
