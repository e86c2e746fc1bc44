/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A program with an allocator of its own in libown.so, with the prefix "own_".
 *
 *	own plain	leaks exactly
 *	own longjmp	leaves own_malloc by longjmp, again and again, and leaks exactly beside it
 *	own cancel	threads are cancelled inside own_malloc
 *	own forget	the allocator hands out addresses again that nobody has freed
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>

#include "own.h"
#include "protocol.h"

#define JUMPS	500
#define THREADS 8

NOINLINE void leak_own(void)
{
	for (int i = 0; i < 20; i++)
		CHECK(keep(own_malloc(50)));
	truth("leak_own", 20 * 50, 20);
}

NOINLINE void leak_own_calloc(void)
{
	for (int i = 0; i < 5; i++)
		CHECK(keep(own_calloc(3, 100)));
	truth("leak_own_calloc", 5 * 300, 5);
}

NOINLINE void leak_own_realloc(void)
{
	CHECK(keep(own_realloc(own_malloc(10), 999)));
	truth("leak_own_realloc", 999, 1);
}

NOINLINE void borrow_own(void)
{
	for (int i = 0; i < 30; i++)
		own_free(keep(own_malloc(60)));
	truth("borrow_own", 0, 0);
}

NOINLINE void jump_out(void)
{
	if (sigsetjmp(own_escape, 0) == 0)
		keep(own_malloc(OWN_LONGJMP));
}

NOINLINE void leak_after_jump(void)
{
	CHECK(keep(own_malloc(33)));
}

/* Deeper than the call that never returned, over the place where its stack was. */
NOINLINE void leak_deeper(int depth)
{
	char *frame = __builtin_alloca(64);

	memset(frame, depth, 64);
	keep(frame);
	if (depth > 0)
		leak_deeper(depth - 1);
	else
		CHECK(keep(own_malloc(44)));
	keep(frame);
}

NOINLINE void jump_from_below(int depth)
{
	char *frame = __builtin_alloca(64);

	memset(frame, depth, 64);
	keep(frame);
	if (depth > 0)
		jump_from_below(depth - 1);
	else
		keep(own_malloc(OWN_LONGJMP));
	keep(frame);
}

NOINLINE void jump_far_out(void)
{
	if (sigsetjmp(own_escape, 0) == 0)
		jump_from_below(20);
}

static void leave_by_longjmp(void)
{
	for (int i = 0; i < JUMPS; i++) {
		jump_out();
		leak_after_jump();
		jump_out();
		leak_deeper(10);
		jump_far_out();
		leak_after_jump();
	}
	truth("leak_after_jump", 2 * JUMPS * 33, 2 * JUMPS);
	truth("leak_deeper", JUMPS * 44, JUMPS);
	truth("jump_out", 0, 0);
}

static atomic_int cleaned;
static pthread_barrier_t inside;

static void clean(void *unused)
{
	(void)unused;
	atomic_fetch_add(&cleaned, 1);
}

NOINLINE void be_cancelled(void)
{
	keep(own_malloc(OWN_CANCEL));
}

static void *run_cancelled(void *unused)
{
	pthread_cleanup_push(clean, NULL);
	pthread_barrier_wait(&inside);
	be_cancelled();
	pthread_cleanup_pop(0);
	return unused;
}

static void *run_leaking(void *unused)
{
	for (int i = 0; i < 10; i++)
		leak_after_jump();
	return unused;
}

static void cancel_threads(void)
{
	pthread_t threads[THREADS], other;

	pthread_barrier_init(&inside, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, run_cancelled, NULL) == 0);
	pthread_barrier_wait(&inside);
	for (int i = 0; i < THREADS; i++) {
		void *result;

		CHECK(pthread_cancel(threads[i]) == 0);
		CHECK(pthread_join(threads[i], &result) == 0);
		CHECK(result == PTHREAD_CANCELED);
	}
	CHECK(cleaned == THREADS);
	for (int i = 0; i < THREADS; i++) {
		CHECK(pthread_create(&other, NULL, run_leaking, NULL) == 0);
		CHECK(pthread_join(other, NULL) == 0);
	}
	truth("leak_after_jump", THREADS * 10 * 33, THREADS * 10);
	truth("be_cancelled", 0, 0);
}

NOINLINE void forgotten(void)
{
	for (int i = 0; i < 100; i++)
		CHECK(keep(own_malloc(48)));
}

NOINLINE void remembered(void)
{
	for (int i = 0; i < 100; i++)
		CHECK(keep(own_malloc(48)));
	truth("remembered", 100 * 48, 100);
}

/* The first hundred blocks are gone, though nobody freed them. */
static void forget(void)
{
	forgotten();
	own_forget_all();
	remembered();
	truth("forgotten", 0, 0);
	truth_fact("missed_frees", 100);
}

int main(int argc, char **argv)
{
	CHECK(argc == 2);
	ready();
	if (strcmp(argv[1], "longjmp") == 0) {
		leave_by_longjmp();
	} else if (strcmp(argv[1], "cancel") == 0) {
		cancel_threads();
	} else if (strcmp(argv[1], "forget") == 0) {
		forget();
	} else {
		leak_own();
		leak_own_calloc();
		leak_own_realloc();
		borrow_own();
	}
	return finish();
}
