/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What slabtop's BPF programs and its user space share. */
#ifndef MEMTOOLS_SLABTOP_H
#define MEMTOOLS_SLABTOP_H

#define NAME_BYTES 64

/* What a cache holds: the iterator writes one for each. */
struct slab_sizes {
	u64 cache; /* its address */
	u64 objects;
	u64 free; /* of them; what single CPUs keep ready counts as in use */
	u64 slabs;
	u32 size;	   /* bytes that an object takes */
	u32 order_objects; /* the kernel's word: order in the upper half, objects in the lower */
	u32 flags;
	u32 reserved;
	char name[NAME_BYTES];
};

enum slab_flag {
	SLAB_FREE_IS_KNOWN = 1 << 0,
};

/* In which way an object came or went. Each is counted by one program. */
enum motion {
	CACHE_ALLOC, /* kmem_cache_alloc() and its like */
	KMALLOC,
	BULK_ALLOC,
	CACHE_FREE,
	KFREE,
	BULK_FREE,
	MOTIONS,
};

/* What moved in a cache, on one CPU. */
struct slab_slot {
	u64 cache; /* its address; 0: nobody's */
	u64 objects[MOTIONS];
	u64 claims; /* how many have wanted it */
};

#define SLAB_SLOT_BITS 11
#define SLAB_SLOTS     (1 << SLAB_SLOT_BITS)
/* So many are looked at; when none is free: loss.caches. */
#define SLOT_PROBES 64

/* Of one CPU. */
struct slab_slots {
	struct slab_slot slots[SLAB_SLOTS];
};

struct slab_name {
	char text[NAME_BYTES];
};

/* What is counted beside. */
enum slab_counter {
	LOST_CACHES,  /* events of caches for which there was no room */
	LOST_OBJECTS, /* objects that are not followed: no room */
	LOST_STACKS,  /* events whose stack was not kept */
	LOST_BULK,    /* objects of a bulk longer than can be looked at */
	NO_SLAB,      /* kmalloc and kfree of whole pages: no loss */
	SLAB_COUNTERS,
};

#define STACK_DEPTH 64
#define COMM_BYTES  16

/* Who allocates, or frees, objects of a followed cache, and where: a hash stands for it. */
struct slab_stack {
	u64 cache;
	u64 allocs;	  /* made here */
	u64 freed;	  /* of those, by anybody */
	u64 not_followed; /* of those: there was no room */
	u64 frees;	  /* here, of objects made anywhere */
	u64 depth;
	u32 process;	       /* the first one, in the initial PID namespace */
	u32 has_others;	       /* processes of the same name were here as well */
	char comm[COMM_BYTES]; /* of the process, and not of its threads */
	u64 frames[STACK_DEPTH];
};

/* A followed object. */
struct slab_object {
	u64 stack; /* where it was made */
};

#endif
