/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Control groups of a task, and which lies in which. */
#ifndef MEMTOOLS_CGROUP_BPF_H
#define MEMTOOLS_CGROUP_BPF_H

/* No cgroup that is looked for lies deeper below another. */
#define MAX_CGROUP_DEPTH 32

static __always_inline struct cgroup_subsys_state *memory_css(struct task_struct *task)
{
	u32 controller = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct cgroup_subsys_state *css = 0;
	u32 at = bpf_core_field_offset(struct css_set, subsys) + controller * sizeof(void *);

	bpf_probe_read_kernel(&css, sizeof(css), (void *)set + at);
	return css;
}

static __always_inline struct kernfs_node *parent_of(struct kernfs_node *node)
{
#ifndef WITHOUT_KERNFS_PARENT
	struct kernfs_node___plain *plain = (void *)node;

	if (bpf_core_field_exists(plain->parent)) {
		struct kernfs_node *parent = BPF_CORE_READ(plain, parent);

		/* Else the compiler makes one read of both, at an offset that one kernel has not.
		 */
		asm volatile("" : "+r"(parent));
		return parent;
	}
#endif
	return BPF_CORE_READ(node, __parent);
}

/* Whether a cgroup is another one, by its kernfs id, or inside it. */
static __always_inline bool is_within(struct cgroup_subsys_state *css, u64 wanted)
{
	u32 i;

	for (i = 0; i < MAX_CGROUP_DEPTH && css; i++) {
		if (BPF_CORE_READ(css, cgroup, kn, id) == wanted)
			return true;
		css = BPF_CORE_READ(css, parent);
	}
	return false;
}

/* The same for memory_css() in the hierarchy of version 2. */
static __always_inline struct cgroup_subsys_state *unified_css(struct task_struct *task)
{
	struct cgroup *cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp);

	return (void *)cgroup + bpf_core_field_offset(struct cgroup, self);
}

#endif
