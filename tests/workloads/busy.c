/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Leaks exactly, says "done", and then keeps its threads allocating and freeing until it is told
 * to quit. What its threads write into their blocks has to be there still when they free them.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>

#include "protocol.h"

#define THREADS 2
#define HELD	64

static atomic_int quitting;

NOINLINE void leak_before_kill(void)
{
	for (int i = 0; i < 25; i++)
		CHECK(keep(malloc(640)));
	truth("leak_before_kill", 25 * 640, 25);
}

static void fill(unsigned char *block, size_t size)
{
	CHECK(block);
	memset(block, (int)size & 0xff, size);
}

static void check(const unsigned char *block, size_t size)
{
	CHECK(block[0] == (size & 0xff) && block[size - 1] == (size & 0xff));
}

NOINLINE void *allocate_for_ever(void *unused)
{
	unsigned char *held[HELD] = {NULL};
	size_t sizes[HELD];

	for (size_t i = 0; !atomic_load(&quitting); i++) {
		size_t slot = i % HELD;

		if (held[slot]) {
			check(held[slot], sizes[slot]);
			free(held[slot]);
		}
		sizes[slot] = 1 + (i * 37) % 2000;
		held[slot] = keep(i % 2 ? malloc(sizes[slot]) : calloc(1, sizes[slot]));
		fill(held[slot], sizes[slot]);
	}
	return unused;
}

int main(void)
{
	pthread_t threads[THREADS];
	int status;

	ready();
	leak_before_kill();
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, allocate_for_ever, NULL) == 0);
	status = finish();
	atomic_store(&quitting, 1);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	return status;
}
