/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * pairs THREADS DEPTH SIZE PAIRS: each thread runs PAIRS of malloc(SIZE) and free under DEPTH
 * frames, those of libc's thread start among them, for each "go", and says what a pair took. The
 * wall time of the whole is divided by the pairs of one thread.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "protocol.h"

/* start_thread and clone3 below the program's own frames. */
#define LIBC_FRAMES 2
#define OWN_FRAMES  2

static size_t size;
static size_t pairs;
static int recursion;
static pthread_barrier_t start;
static pthread_barrier_t end;

NOINLINE void run_pairs(int depth)
{
	if (depth > 0) {
		run_pairs(depth - 1);
		keep(NULL);
		return;
	}
	for (size_t i = 0; i < pairs; i++)
		free(keep(malloc(size)));
}

static void *run_thread(void *unused)
{
	for (;;) {
		pthread_barrier_wait(&start);
		run_pairs(recursion);
		pthread_barrier_wait(&end);
	}
	return unused;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static void run_round(int threads)
{
	uint64_t begin, took;

	pthread_barrier_wait(&start);
	begin = now_ns();
	pthread_barrier_wait(&end);
	took = now_ns() - begin;
	say("{\"ns_per_pair\":%.3f,\"pairs\":%zu}", (double)took / pairs, pairs * threads);
}

static void start_threads(int threads)
{
	pthread_t thread;

	pthread_barrier_init(&start, NULL, threads + 1);
	pthread_barrier_init(&end, NULL, threads + 1);
	for (int i = 0; i < threads; i++)
		CHECK(pthread_create(&thread, NULL, run_thread, NULL) == 0);
}

int main(int argc, char **argv)
{
	size_t rounds = 0;
	int threads;
	char line[32];

	CHECK(argc == 5);
	threads = atoi(argv[1]);
	recursion = atoi(argv[2]) - LIBC_FRAMES - OWN_FRAMES;
	size = strtoul(argv[3], NULL, 10);
	pairs = strtoul(argv[4], NULL, 10);
	CHECK(threads > 0 && recursion >= 0 && pairs > 0);
	start_threads(threads);
	say("ready %d", (int)getpid());
	while (read_line(line, sizeof(line)) && strcmp(line, "quit") != 0) {
		run_round(threads);
		rounds++;
		truth_events(rounds * pairs * threads, rounds * pairs * threads);
		say("done");
	}
	say("alive");
	return 0;
}
