/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Two threads, each of which holds a block of 26 bytes and one of 40 by turns, at one address.
 *
 *	swap N		N turns each
 */
#include <pthread.h>

#include "protocol.h"

#define THREADS 2

static size_t turns;
static pthread_barrier_t start, end;

NOINLINE void *hold_26(void)
{
	return keep(malloc(26));
}

NOINLINE void *hold_40(void)
{
	return keep(malloc(40));
}

/* Most of the time a block is there to be seen. */
static void *linger(void *block)
{
	for (volatile int i = 0; i < 5000; i++)
		;
	return block;
}

static void *take_turns(void *unused)
{
	(void)unused;
	pthread_barrier_wait(&start);
	for (size_t i = 0; i < turns; i++) {
		free(linger(hold_26()));
		free(linger(hold_40()));
	}
	pthread_barrier_wait(&end);
	pause();
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	CHECK(argc == 2);
	turns = strtoul(argv[1], NULL, 10);
	CHECK(!pthread_barrier_init(&start, NULL, THREADS + 1));
	CHECK(!pthread_barrier_init(&end, NULL, THREADS + 1));
	for (size_t t = 0; t < THREADS; t++)
		CHECK(!pthread_create(&thread, NULL, take_turns, NULL));
	ready();
	pthread_barrier_wait(&start);
	pthread_barrier_wait(&end);
	truth_events(THREADS * 2 * turns, THREADS * 2 * turns);
	return finish();
}
