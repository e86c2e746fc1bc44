/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Leaks, and frees, by mimalloc's own functions. */
#include "protocol.h"

extern void *mi_malloc(size_t size);
extern void *mi_zalloc(size_t size);
extern void *mi_calloc(size_t count, size_t size);
extern void *mi_realloc(void *block, size_t size);
extern void *mi_malloc_aligned(size_t size, size_t alignment);
extern void mi_free(void *block);

#define LEAKED 30

NOINLINE void leak_simple(void)
{
	for (int i = 0; i < LEAKED; i++) {
		CHECK(keep(mi_malloc(hidden(100))));
		CHECK(keep(mi_zalloc(hidden(200))));
		CHECK(keep(mi_calloc(hidden(3), 100)));
	}
}

NOINLINE void leak_others(void)
{
	for (int i = 0; i < LEAKED; i++) {
		CHECK(keep(mi_realloc(keep(mi_malloc(hidden(10))), hidden(4000))));
		CHECK(keep(mi_malloc_aligned(hidden(320), 64)));
	}
}

NOINLINE void free_each(void)
{
	for (int i = 0; i < LEAKED; i++) {
		mi_free(keep(mi_malloc(hidden(300))));
		free(keep(mi_malloc(hidden(300))));
		mi_free(keep(malloc(hidden(300))));
	}
}

int main(void)
{
	ready();
	leak_simple();
	leak_others();
	free_each();
	truth("leak_simple", LEAKED * 600, 3 * LEAKED);
	truth("leak_others", LEAKED * 4320, 2 * LEAKED);
	truth("free_each", 0, 0);
	truth_fact("refused", 0);
	return finish();
}
