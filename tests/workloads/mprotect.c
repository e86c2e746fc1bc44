/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Makes a page of its own text writable and back, as hot patchers do: names stay what they are. */
#include <stdint.h>
#include <sys/mman.h>

#include "protocol.h"

NOINLINE void leak_before(void)
{
	for (int i = 0; i < 10; i++)
		CHECK(keep(malloc(70)));
	truth("leak_before", 700, 10);
}

NOINLINE void leak_after(void)
{
	for (int i = 0; i < 20; i++)
		CHECK(keep(malloc(80)));
	truth("leak_after", 1600, 20);
}

NOINLINE void leak_copies(void)
{
	for (int i = 0; i < 5; i++)
		CHECK(keep(strdup("twenty characters...")));
	truth("leak_copies", 105, 5);
}

static void flip(void *function)
{
	size_t page = sysconf(_SC_PAGESIZE);
	void *start = (void *)((uintptr_t)function & ~(page - 1));

	CHECK(mprotect(start, page, PROT_READ | PROT_WRITE | PROT_EXEC) == 0);
	CHECK(mprotect(start, page, PROT_READ | PROT_EXEC) == 0);
}

int main(void)
{
	ready();
	leak_before();
	flip(leak_before);
	flip(malloc);
	leak_after();
	leak_copies();
	return finish();
}
