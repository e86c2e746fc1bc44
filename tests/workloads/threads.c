/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Threads that allocate and free for each other.
 *
 *	threads pass N		each of four producers hands N blocks to consumers, which free all
 *				but every hundredth
 *	threads short N		N threads, one after the other, each keeps one of ten blocks
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "protocol.h"

#define PAIRS	   4
#define SLOTS	   256
#define KEEP_EVERY 100

/* One producer, one consumer: the channel needs no lock. */
struct channel {
	_Atomic(void *) slots[SLOTS];
};

static struct channel channels[PAIRS];
static size_t blocks_each;
static pthread_barrier_t start;
static pthread_barrier_t end;

NOINLINE void *produce_small(void)
{
	return keep(malloc(40));
}

NOINLINE void *produce_large(void)
{
	return keep(malloc(3000));
}

NOINLINE void consume(void *block)
{
	free(block);
}

static void put(struct channel *channel, size_t i, void *block)
{
	void *empty = NULL;

	while (!atomic_compare_exchange_weak(&channel->slots[i % SLOTS], &empty, block)) {
		empty = NULL;
		sched_yield();
	}
}

static void *take(struct channel *channel, size_t i)
{
	void *block;

	while (!(block = atomic_exchange(&channel->slots[i % SLOTS], NULL)))
		sched_yield();
	return block;
}

static void *produce(void *channel)
{
	pthread_barrier_wait(&start);
	for (size_t i = 0; i < blocks_each; i++)
		put(channel, i, i % 2 ? produce_large() : produce_small());
	pthread_barrier_wait(&end);
	pause();
	return NULL;
}

/* Keeps blocks of both kinds: an even one, then an odd one. */
static void *consume_most(void *channel)
{
	pthread_barrier_wait(&start);
	for (size_t i = 0; i < blocks_each; i++) {
		void *block = take(channel, i);

		if (i % KEEP_EVERY > 1)
			consume(block);
	}
	pthread_barrier_wait(&end);
	pause();
	return NULL;
}

static void pass_blocks(void)
{
	size_t kept = PAIRS * blocks_each / KEEP_EVERY;
	pthread_t thread;

	CHECK(blocks_each % KEEP_EVERY == 0);
	pthread_barrier_init(&start, NULL, 2 * PAIRS + 1);
	pthread_barrier_init(&end, NULL, 2 * PAIRS + 1);
	for (int i = 0; i < PAIRS; i++) {
		CHECK(pthread_create(&thread, NULL, produce, &channels[i]) == 0);
		CHECK(pthread_create(&thread, NULL, consume_most, &channels[i]) == 0);
	}
	ready();
	pthread_barrier_wait(&start);
	pthread_barrier_wait(&end);
	truth("produce_small", 40 * kept, kept);
	truth("produce_large", 3000 * kept, kept);
	truth_events(PAIRS * blocks_each, PAIRS * blocks_each - 2 * kept);
}

NOINLINE void leak_in_short_thread(void)
{
	keep(malloc(70));
}

NOINLINE void borrow_in_short_thread(void)
{
	free(keep(malloc(90)));
}

static void *live_shortly(void *unused)
{
	for (int i = 0; i < 9; i++)
		borrow_in_short_thread();
	leak_in_short_thread();
	return unused;
}

static void start_short_threads(void)
{
	ready();
	for (size_t i = 0; i < blocks_each; i++) {
		pthread_t thread;

		CHECK(pthread_create(&thread, NULL, live_shortly, NULL) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
	}
	truth("leak_in_short_thread", 70 * blocks_each, blocks_each);
	truth("borrow_in_short_thread", 0, 0);
}

int main(int argc, char **argv)
{
	CHECK(argc == 3);
	blocks_each = strtoul(argv[2], NULL, 10);
	if (strcmp(argv[1], "pass") == 0)
		pass_blocks();
	else
		start_short_threads();
	return finish();
}
