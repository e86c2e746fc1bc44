/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Threads whose first call into the allocator is free: their arenas are made inside it. */
#include <pthread.h>

#include "protocol.h"

#define THREADS 4

static void *take_and_leak(void *block)
{
	free(block);
	CHECK(keep(malloc(100)));
	return NULL;
}

NOINLINE void hand_over(void)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, take_and_leak, malloc(64)) == 0);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

int main(void)
{
	ready();
	hand_over();
	truth("take_and_leak", THREADS * 100, THREADS);
	return finish();
}
