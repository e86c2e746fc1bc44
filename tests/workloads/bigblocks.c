/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Blocks so large that malloc maps each of its own, and mappings that the program makes itself.
 *
 *	bigblocks heap		1 MiB and 64 MiB blocks
 *	bigblocks maps		mmap, munmap, mremap of anonymous memory
 *	bigblocks stacks	threads, their stacks and arenas
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>

#include "protocol.h"

#define MIB	   (1024UL * 1024)
#define THREADS	   4
#define STACK_SIZE (2 * MIB)

static size_t page;

NOINLINE void leak_mib(void)
{
	for (int i = 0; i < 5; i++)
		CHECK(keep(malloc(MIB)));
	truth_class("leak_mib", 5 * MIB, "heap");
}

NOINLINE void leak_64_mib(void)
{
	CHECK(keep(malloc(64 * MIB)));
	truth_class("leak_64_mib", 64 * MIB, "heap");
}

NOINLINE void leak_calloc_mib(void)
{
	for (int i = 0; i < 3; i++)
		CHECK(keep(calloc(2, MIB)));
	truth_class("leak_calloc_mib", 6 * MIB, "heap");
}

/* realloc of a mapped block is an mremap inside. */
NOINLINE void leak_realloc_mib(void)
{
	char *block = keep(malloc(MIB));

	for (size_t size = 2; size <= 32; size *= 2) {
		block = keep(realloc(block, size * MIB));
		CHECK(block);
	}
	truth_class("leak_realloc_mib", 32 * MIB, "heap");
}

NOINLINE void borrow_mib(void)
{
	for (int i = 0; i < 10; i++)
		free(keep(malloc(MIB)));
	truth_class("borrow_mib", 0, "heap");
}

static char *map_pages(size_t pages, int flags)
{
	char *start = mmap(NULL, pages * page, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	CHECK(start != MAP_FAILED);
	return start;
}

/* mmap is called by each function itself, so that it is the caller. */
#define MAP_HERE(pages)                                                                            \
	((char *)mmap(NULL, (pages)*page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, \
		      0))

NOINLINE void map_and_keep(void)
{
	for (int i = 0; i < 3; i++)
		CHECK(MAP_HERE(16) != MAP_FAILED);
	truth_class("map_and_keep", 48 * page, "mmap");
}

NOINLINE void map_and_unmap(void)
{
	for (int i = 0; i < 20; i++) {
		char *start = MAP_HERE(16);

		CHECK(start != MAP_FAILED && munmap(start, 16 * page) == 0);
	}
	truth_class("map_and_unmap", 0, "mmap");
}

NOINLINE void map_and_trim_end(void)
{
	char *start = MAP_HERE(10);

	CHECK(munmap(start + 7 * page, 3 * page) == 0);
	truth_class("map_and_trim_end", 7 * page, "mmap");
}

NOINLINE void map_and_trim_front(void)
{
	char *start = MAP_HERE(10);

	CHECK(munmap(start, 4 * page) == 0);
	truth_class("map_and_trim_front", 6 * page, "mmap");
}

NOINLINE void map_and_punch(void)
{
	char *start = MAP_HERE(10);

	CHECK(munmap(start + 3 * page, 4 * page) == 0);
	truth_class("map_and_punch", 6 * page, "mmap");
}

/* A length that is no multiple of the page size takes whole pages. */
NOINLINE void map_and_unmap_odd(void)
{
	char *start = MAP_HERE(8);

	CHECK(munmap(start + 4 * page, 3 * page + 1) == 0);
	truth_class("map_and_unmap_odd", 4 * page, "mmap");
}

/* One munmap over two mappings that lie side by side. */
NOINLINE void map_twice_unmap_across(void)
{
	char *area = map_pages(16, 0);
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;

	CHECK(munmap(area, 16 * page) == 0);
	CHECK(mmap(area, 8 * page, PROT_READ, flags, -1, 0) == area);
	CHECK(mmap(area + 8 * page, 8 * page, PROT_WRITE, flags, -1, 0) == area + 8 * page);
	CHECK(munmap(area + 5 * page, 6 * page) == 0);
	truth_class("map_twice_unmap_across", 10 * page, "mmap");
}

NOINLINE void map_and_grow(void)
{
	char *start = MAP_HERE(4);

	CHECK(mremap(start, 4 * page, 4096 * page, MREMAP_MAYMOVE) != MAP_FAILED);
	truth_class("map_and_grow", 4096 * page, "mmap");
}

NOINLINE void map_and_shrink(void)
{
	char *start = MAP_HERE(64);

	CHECK(mremap(start, 64 * page, 5 * page, 0) == start);
	truth_class("map_and_shrink", 5 * page, "mmap");
}

NOINLINE void map_and_move(void)
{
	char *start = MAP_HERE(9);
	char *place = map_pages(9, 0);

	CHECK(munmap(place, 9 * page) == 0);
	CHECK(mremap(start, 9 * page, 9 * page, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place);
	truth_class("map_and_move", 9 * page, "mmap");
}

/* A mapping may go by being mapped over, by more of the same or by a file. */
NOINLINE void map_over(int file)
{
	char *start = MAP_HERE(12);
	int flags = MAP_PRIVATE | MAP_FIXED;

	CHECK(mmap(start, 4 * page, PROT_READ, flags | MAP_ANONYMOUS, -1, 0) == start);
	CHECK(mmap(start + 10 * page, 2 * page, PROT_READ, flags, file, 0) == start + 10 * page);
	truth_class("map_over", 10 * page, "mmap");
}

NOINLINE void map_file(int file)
{
	for (int i = 0; i < 4; i++)
		CHECK(mmap(NULL, 4 * page, PROT_READ, MAP_PRIVATE, file, 0) != MAP_FAILED);
	truth_class("map_file", 0, "mmap");
}

NOINLINE void fail_to_map(void)
{
	CHECK(mmap(NULL, hidden(SIZE_MAX / 2), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
	      MAP_FAILED);
	CHECK(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	truth_class("fail_to_map", 0, "mmap");
}

static void run_heap(void)
{
	leak_mib();
	leak_64_mib();
	leak_calloc_mib();
	leak_realloc_mib();
	borrow_mib();
}

static void run_maps(const char *self)
{
	FILE *file = fopen(self, "r");

	CHECK(file);
	ready();
	map_and_keep();
	map_and_unmap();
	map_and_trim_end();
	map_and_trim_front();
	map_and_punch();
	map_and_unmap_odd();
	map_twice_unmap_across();
	map_and_grow();
	map_and_shrink();
	map_and_move();
	map_over(fileno(file));
	map_file(fileno(file));
	fail_to_map();
}

static pthread_barrier_t all_run;

/* The first malloc of a thread makes an arena of 64 MiB for it. */
NOINLINE void leak_in_thread(void)
{
	CHECK(keep(malloc(1000)));
}

static void *run_thread(void *unused)
{
	leak_in_thread();
	pthread_barrier_wait(&all_run);
	pause();
	return unused;
}

NOINLINE void start_threads(void)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_barrier_init(&all_run, NULL, THREADS + 1);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&thread, &attr, run_thread, NULL) == 0);
	pthread_barrier_wait(&all_run);
	truth_class("leak_in_thread", THREADS * 1000, "heap");
	truth_fact("thread_stacks", THREADS * STACK_SIZE);
}

int main(int argc, char **argv)
{
	page = sysconf(_SC_PAGESIZE);
	CHECK(argc == 2);
	if (strcmp(argv[1], "maps") == 0) {
		run_maps(argv[0]);
		return finish();
	}
	ready();
	if (strcmp(argv[1], "stacks") == 0)
		start_threads();
	else
		run_heap();
	return finish();
}
