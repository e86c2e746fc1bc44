/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every function of the C allocator, with figures that are known to the byte.
 *
 *	exact			all of it
 *	exact untracked N	frees N blocks that are older than "go"
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdint.h>

#include "protocol.h"

#define OLD_BLOCKS_MAX 1000

static size_t allocs;
static size_t frees;
static size_t failed;

static void *counted(void *block)
{
	CHECK(block);
	allocs++;
	return keep(block);
}

static void refused(const void *block)
{
	CHECK(!block);
	failed++;
}

static void *moved(void *block)
{
	CHECK(block);
	allocs++;
	frees++;
	return keep(block);
}

NOINLINE void leak_small(void)
{
	size_t bytes = 0;

	for (size_t size = 1; size <= 100; size++) {
		counted(malloc(size));
		bytes += size;
	}
	truth("leak_small", bytes, 100);
}

NOINLINE void leak_sizes(void)
{
	size_t bytes = 0, count = 0;

	for (size_t size = 1; size <= (1 << 20); size *= 2) {
		counted(malloc(size));
		bytes += size;
		count++;
	}
	truth("leak_sizes", bytes, count);
}

/* malloc(0) gives a block of its own, which has to be freed like any other. */
NOINLINE void leak_nothing(void)
{
	for (int i = 0; i < 5; i++)
		counted(malloc(hidden(0)));
	truth("leak_nothing", 0, 5);
}

NOINLINE void leak_calloc(void)
{
	for (int i = 0; i < 50; i++)
		counted(calloc(7, 13));
	truth("leak_calloc", 50 * 7 * 13, 50);
}

NOINLINE void leak_realloc_grow(void)
{
	for (int i = 0; i < 10; i++)
		moved(realloc(counted(malloc(10)), 100000));
	truth("leak_realloc_grow", 10 * 100000, 10);
}

NOINLINE void leak_realloc_shrink(void)
{
	for (int i = 0; i < 10; i++)
		moved(realloc(counted(malloc(100000)), 11));
	truth("leak_realloc_shrink", 10 * 11, 10);
}

NOINLINE void *give_to_realloc(void)
{
	return counted(malloc(400));
}

/* The last one to size a block is the one that holds it. */
NOINLINE void leak_realloc_taken(void)
{
	for (int i = 0; i < 7; i++)
		moved(realloc(give_to_realloc(), 5000));
	truth("leak_realloc_taken", 7 * 5000, 7);
	truth("give_to_realloc", 0, 0);
}

NOINLINE void leak_realloc_null(void)
{
	for (int i = 0; i < 3; i++)
		counted(realloc(keep(NULL), 77));
	truth("leak_realloc_null", 3 * 77, 3);
}

NOINLINE void leak_reallocarray(void)
{
	for (int i = 0; i < 6; i++)
		moved(reallocarray(counted(malloc(1)), 9, 111));
	truth("leak_reallocarray", 6 * 9 * 111, 6);
}

NOINLINE void leak_posix_memalign(void)
{
	for (int i = 0; i < 8; i++) {
		void *block = NULL;

		CHECK(posix_memalign(&block, 256, 1000) == 0);
		counted(block);
	}
	truth("leak_posix_memalign", 8 * 1000, 8);
}

NOINLINE void leak_aligned_alloc(void)
{
	for (int i = 0; i < 9; i++)
		counted(aligned_alloc(64, 640));
	truth("leak_aligned_alloc", 9 * 640, 9);
}

NOINLINE void leak_memalign(void)
{
	for (int i = 0; i < 4; i++)
		counted(memalign(4096, 123));
	truth("leak_memalign", 4 * 123, 4);
}

#ifdef __GLIBC__
NOINLINE void leak_valloc(void)
{
	for (int i = 0; i < 3; i++)
		counted(valloc(321));
	truth("leak_valloc", 3 * 321, 3);
}

/* Whole pages, because pvalloc rounds up and nobody has to know how. */
NOINLINE void leak_pvalloc(void)
{
	size_t page = sysconf(_SC_PAGESIZE);

	for (int i = 0; i < 2; i++)
		counted(pvalloc(2 * page));
	truth("leak_pvalloc", 4 * page, 2);
}
#endif

NOINLINE void fail_to_allocate(void)
{
	void *block = NULL;

	for (int i = 0; i < 3; i++)
		refused(malloc(hidden(PTRDIFF_MAX)));
	for (int i = 0; i < 2; i++)
		refused(calloc(hidden(SIZE_MAX / 2), hidden(3)));
	refused(aligned_alloc(64, hidden(PTRDIFF_MAX - 63)));
	refused(reallocarray(keep(NULL), hidden(SIZE_MAX / 2), hidden(3)));
	CHECK(posix_memalign(&block, hidden(3), 100) != 0);
	refused(block);
	CHECK(posix_memalign(&block, 64, hidden(PTRDIFF_MAX)) != 0);
	refused(block);
	truth("fail_to_allocate", 0, 0);
}

NOINLINE void *leak_realloc_refused(void)
{
	return counted(malloc(333));
}

/* A realloc that fails leaves the old block where it was, and whose it was. */
NOINLINE void fail_to_realloc(char *const blocks[4])
{
	for (int i = 0; i < 4; i++) {
		char *block = blocks[i];

		memset(block, 'x', 333);
		refused(realloc(keep(block), hidden(PTRDIFF_MAX)));
		refused(reallocarray(keep(block), hidden(SIZE_MAX / 2), hidden(3)));
		/* Their product is 0 to whoever does not look. */
		refused(reallocarray(keep(block), hidden(1UL << 33), hidden(1UL << 31)));
		CHECK(block[332] == 'x');
	}
	truth("leak_realloc_refused", 4 * 333, 4);
	truth("fail_to_realloc", 0, 0);
}

#ifdef __GLIBC__
NOINLINE void free_by_realloc(void)
{
	for (int i = 0; i < 12; i++) {
		CHECK(!keep(realloc(counted(malloc(50)), hidden(0))));
		frees++;
	}
	truth("free_by_realloc", 0, 0);
}
#endif

NOINLINE void free_nothing(void)
{
	for (int i = 0; i < 1000; i++)
		free(keep(NULL));
}

NOINLINE void free_all(void)
{
	for (int i = 0; i < 1000; i++) {
		free(counted(malloc(1 + i)));
		frees++;
	}
	truth("free_all", 0, 0);
}

NOINLINE void free_elsewhere(void *block)
{
	free(block);
	frees++;
}

NOINLINE void free_half(void)
{
	for (int i = 0; i < 100; i++) {
		void *block = counted(malloc(30));

		if (i % 2)
			free_elsewhere(block);
	}
	truth("free_half", 50 * 30, 50);
}

static void free_older(int count)
{
	static void *blocks[OLD_BLOCKS_MAX];

	CHECK(count >= 0 && count <= OLD_BLOCKS_MAX);
	for (int i = 0; i < count; i++)
		blocks[i] = keep(malloc(100));
	ready();
	for (int i = 0; i < count; i++)
		free(blocks[i]);
	frees += count;
	truth_fact("untracked", count);
}

static void allocate_everything(void)
{
	char *refused_blocks[4];

	leak_small();
	leak_sizes();
	leak_nothing();
	leak_calloc();
	leak_realloc_grow();
	leak_realloc_shrink();
	leak_realloc_taken();
	leak_realloc_null();
	leak_reallocarray();
	leak_posix_memalign();
	leak_aligned_alloc();
	leak_memalign();
#ifdef __GLIBC__
	leak_valloc();
	leak_pvalloc();
	free_by_realloc();
#endif
	fail_to_allocate();
	for (int i = 0; i < 4; i++)
		refused_blocks[i] = leak_realloc_refused();
	fail_to_realloc(refused_blocks);
	free_nothing();
	free_all();
	free_half();
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "untracked") == 0) {
		free_older(atoi(argv[2]));
	} else {
		ready();
		allocate_everything();
		truth_fact("failed", failed);
	}
	truth_events(allocs, frees);
	return finish();
}
