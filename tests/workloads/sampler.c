/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Leaks by an allocator that tells of its own samples (USDT, otel_memory), by a pool in the program
 * that tells of all its blocks, and by malloc, of which nobody tells.
 *
 *	sampler		waits for its test
 *	sampler exec	becomes another image of itself, which uses malloc alone
 *	sampler now	waits for nobody: works, and ends
 */
#include <stdint.h>

#include "protocol.h"
#include "sampler.h"
#include "usdt.h"

static char pool[1 << 16];
static size_t pooled;

/* Arguments in memory, in an element of an array, and none that varies. */
NOINLINE static void *take_from_pool(volatile uint64_t *sizes, size_t kind)
{
	void *volatile block = pool + pooled;

	pooled += sizes[kind];
	__asm__ volatile(
		USDT_NOTE("otel_memory", "alloc", "0", "8@%[block] 8@(%[sizes],%[kind],8) -4@$0")
		:
		: [block] "m"(block), [sizes] "r"(sizes), [kind] "r"(kind));
	return block;
}

NOINLINE static void give_to_pool(void *block)
{
	USDT1("otel_memory", "free", "0", block);
}

NOINLINE void leak_small(void)
{
	for (int i = 0; i < 1000; i++)
		CHECK(sampler_alloc(hidden(64)));
}

NOINLINE void leak_large(void)
{
	for (int i = 0; i < 3; i++)
		CHECK(sampler_alloc(hidden(2 << 20)));
}

NOINLINE void free_all(void)
{
	for (int i = 0; i < 5000; i++)
		sampler_free(keep(sampler_alloc(hidden(8 + i % 500))));
}

NOINLINE void leak_pool(void)
{
	volatile uint64_t sizes[] = {16, 48, 80};

	for (int i = 0; i < 60; i++)
		keep(take_from_pool(sizes, i % 3));
}

NOINLINE void free_pool(void)
{
	volatile uint64_t sizes[] = {32};

	for (int i = 0; i < 200; i++)
		give_to_pool(keep(take_from_pool(sizes, 0)));
}

/* What the program after tells before anybody knows that it is another one. */
NOINLINE void leak_while_told(void)
{
	for (int i = 0; i < 100; i++)
		CHECK(sampler_alloc(hidden(96)));
}

NOINLINE void leak_untold(void)
{
	for (int i = 0; i < 7; i++)
		CHECK(keep(malloc(hidden(500))));
}

static void work(void)
{
	leak_small();
	leak_large();
	free_all();
	leak_pool();
	free_pool();
	leak_untold();
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	if (strcmp(mode, "after") == 0) {
		leak_while_told();
		/* Until nobody listens any more, the functions have their probes. */
		for (int i = 0; i < 3000 && sampler_listeners(); i++)
			usleep(10000);
		leak_untold();
		truth("leak_untold", 7 * 500, 7);
		truth("leak_small", 0, 0);
		truth("leak_while_told", 0, 0);
		truth_fact("listeners", sampler_listeners());
		return finish();
	}
	if (strcmp(mode, "now") == 0) {
		work();
		say("%d listen", sampler_listeners());
		return 0;
	}
	ready();
	work();
	if (strcmp(mode, "exec") == 0) {
		execl("/proc/self/exe", argv[0], "after", NULL);
		fail("cannot execute itself");
	}
	truth("leak_small", 1000 * 64, 1000);
	truth("leak_large", 3 * (2 << 20), 3);
	truth("free_all", 0, 0);
	truth("leak_pool", 20 * (16 + 48 + 80), 60);
	truth("free_pool", 0, 0);
	truth_fact("untold", 7 * 500);
	truth_fact("listeners", sampler_listeners());
	return finish();
}
