/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Many live blocks, in two threads, that come and go at random, so that addresses are given out
 * again and again while others stay.
 *
 *	turnover PLACES STEPS	each step fills, resizes or empties one of so many places
 */
#include <pthread.h>

#include "protocol.h"

#define MOST_PLACES (1 << 20)
#define THREADS	    2

static void *places[MOST_PLACES];
static unsigned short sizes[MOST_PLACES];
static size_t place_count, step_count;
static size_t allocs[THREADS], frees[THREADS];
static pthread_barrier_t start, end;

NOINLINE void *fill(size_t bytes)
{
	return keep(malloc(bytes));
}

NOINLINE void *resize(void *block, size_t bytes)
{
	return keep(realloc(block, bytes));
}

static unsigned long next(unsigned long *state)
{
	*state = *state * 6364136223846793005UL + 1442695040888963407UL;
	return *state >> 33;
}

/* One thread has the even places, the other the odd ones. */
static void *turn_over(void *argument)
{
	size_t thread = (size_t)argument;
	unsigned long state = thread + 1;

	pthread_barrier_wait(&start);
	for (size_t step = 0; step < step_count; step++) {
		size_t i = (next(&state) % (place_count / THREADS)) * THREADS + thread;
		size_t bytes = 1 + next(&state) % 200;
		unsigned long choice = next(&state) % 4;

		if (!places[i]) {
			CHECK(places[i] = fill(bytes));
			sizes[i] = bytes;
			allocs[thread]++;
		} else if (choice == 0) {
			CHECK(places[i] = resize(places[i], bytes));
			sizes[i] = bytes;
			allocs[thread]++;
			frees[thread]++;
		} else {
			free(places[i]);
			places[i] = NULL;
			frees[thread]++;
		}
	}
	pthread_barrier_wait(&end);
	pause();
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	size_t bytes = 0, count = 0;

	CHECK(argc == 3);
	place_count = strtoul(argv[1], NULL, 10);
	step_count = strtoul(argv[2], NULL, 10);
	CHECK(place_count <= MOST_PLACES);
	CHECK(!pthread_barrier_init(&start, NULL, THREADS + 1));
	CHECK(!pthread_barrier_init(&end, NULL, THREADS + 1));
	for (size_t t = 0; t < THREADS; t++)
		CHECK(!pthread_create(&thread, NULL, turn_over, (void *)t));
	ready();
	pthread_barrier_wait(&start);
	pthread_barrier_wait(&end);
	for (size_t i = 0; i < place_count; i++) {
		bytes += places[i] ? sizes[i] : 0;
		count += places[i] != NULL;
	}
	truth("turn_over", bytes, count);
	truth_events(allocs[0] + allocs[1], frees[0] + frees[1]);
	return finish();
}
