/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * realloc_race N: half of the threads move blocks with realloc, N times each, the others take and
 * free blocks of the same sizes. What realloc has let go may be another thread's before realloc
 * returns. All share one arena, or they would never meet.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>

#include "protocol.h"

#define MOVERS	   4
#define TAKERS	   4
#define HELD	   16
#define FINAL_SIZE 777

static size_t rounds;
static pthread_barrier_t start;
static pthread_barrier_t end;

/* Sizes beyond the per-thread cache, so that a freed block is free for everyone. */
static size_t size_of(size_t i)
{
	return 1100 + (i * 7919) % 3000;
}

NOINLINE void *race_realloc(void *block, size_t size)
{
	return keep(realloc(block, size));
}

NOINLINE void *race_malloc(size_t size)
{
	return keep(malloc(size));
}

static void *move(void *unused)
{
	char *block = NULL;

	pthread_barrier_wait(&start);
	for (size_t i = 0; i < rounds; i++) {
		block = race_realloc(block, size_of(i));
		CHECK(block);
		block[0] = 1;
	}
	CHECK(race_realloc(block, FINAL_SIZE));
	pthread_barrier_wait(&end);
	pause();
	return unused;
}

static void *take(void *unused)
{
	void *held[HELD] = {NULL};

	pthread_barrier_wait(&start);
	for (size_t i = 0; i < rounds; i++) {
		free(held[i % HELD]);
		held[i % HELD] = race_malloc(size_of(i));
	}
	for (size_t i = 0; i < HELD; i++)
		free(held[i]);
	CHECK(race_malloc(FINAL_SIZE));
	pthread_barrier_wait(&end);
	pause();
	return unused;
}

int main(int argc, char **argv)
{
	size_t moves, takes;
	pthread_t thread;

	CHECK(argc == 2);
	rounds = strtoul(argv[1], NULL, 10);
	CHECK(rounds >= HELD);
	CHECK(mallopt(M_ARENA_MAX, 1));
	pthread_barrier_init(&start, NULL, MOVERS + TAKERS + 1);
	pthread_barrier_init(&end, NULL, MOVERS + TAKERS + 1);
	for (int i = 0; i < MOVERS; i++)
		CHECK(pthread_create(&thread, NULL, move, NULL) == 0);
	for (int i = 0; i < TAKERS; i++)
		CHECK(pthread_create(&thread, NULL, take, NULL) == 0);
	ready();
	pthread_barrier_wait(&start);
	pthread_barrier_wait(&end);
	truth("race_realloc", MOVERS * FINAL_SIZE, MOVERS);
	truth("race_malloc", TAKERS * FINAL_SIZE, TAKERS);
	/* The first realloc of a mover has nothing to free, and there is one after the rounds. */
	moves = MOVERS * rounds;
	takes = TAKERS * rounds;
	truth_events(moves + MOVERS + takes + TAKERS, moves + takes);
	return finish();
}
