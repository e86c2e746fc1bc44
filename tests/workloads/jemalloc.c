/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Leaks, and frees, by the functions that jemalloc has beside those of C. */
#include "protocol.h"

extern void *mallocx(size_t size, int flags);
extern void *rallocx(void *block, size_t size, int flags);
extern size_t xallocx(void *block, size_t size, size_t extra, int flags);
extern void dallocx(void *block, int flags);
extern void sdallocx(void *block, size_t size, int flags);

#define LEAKED 30

NOINLINE void leak_mallocx(void)
{
	for (int i = 0; i < LEAKED; i++)
		CHECK(keep(mallocx(hidden(100), 0)));
}

NOINLINE void leak_rallocx(void)
{
	for (int i = 0; i < LEAKED; i++)
		CHECK(keep(rallocx(keep(mallocx(hidden(40), 0)), hidden(6000), 0)));
}

/* What stays in its place has another size then, or the one that it had. */
NOINLINE size_t leak_xallocx(void)
{
	size_t bytes = 0;

	for (int i = 0; i < LEAKED; i++) {
		void *block = keep(mallocx(hidden(65), 0));
		size_t size = xallocx(block, hidden(i % 2 ? 75 : 1 << 20), 0, 0);

		bytes += size < (size_t)(i % 2 ? 75 : 1 << 20) ? 65 : 75;
	}
	return bytes;
}

NOINLINE void free_each(void)
{
	for (int i = 0; i < LEAKED; i++) {
		dallocx(keep(mallocx(hidden(300), 0)), 0);
		sdallocx(keep(mallocx(hidden(400), 0)), 400, 0);
		free(keep(mallocx(hidden(500), 0)));
		dallocx(keep(malloc(hidden(600))), 0);
	}
}

int main(void)
{
	size_t in_place;

	ready();
	leak_mallocx();
	leak_rallocx();
	in_place = leak_xallocx();
	free_each();
	truth("leak_mallocx", LEAKED * 100, LEAKED);
	truth("leak_rallocx", LEAKED * 6000, LEAKED);
	truth("leak_xallocx", in_place, LEAKED);
	truth("free_each", 0, 0);
	truth_fact("refused", 0);
	return finish();
}
