/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A malloc of the program's own that tells of all blocks, in a function of its own: by way of C++'s
 * operator new and the C library's strdup.
 */
#include <stdint.h>

#include "protocol.h"
#include "usdt.h"

static char pool[8 << 20] __attribute__((aligned(16)));
static size_t taken;

NOINLINE static void tell(void *block, size_t bytes)
{
	USDT3("otel_memory", "alloc", "0", block, bytes, bytes);
}

extern "C" NOINLINE void *malloc(size_t bytes)
{
	void *block = pool + taken;

	taken += (bytes + 15) & ~(size_t)15;
	if (taken > sizeof(pool))
		_exit(73);
	tell(block, bytes);
	return block;
}

extern "C" NOINLINE void free(void *block)
{
	if (block)
		USDT1("otel_memory", "free", "0", block);
}

NOINLINE static void leak_by_new()
{
	for (int i = 0; i < 20; i++)
		keep(operator new(hidden(40)));
}

NOINLINE static void leak_by_strdup()
{
	for (int i = 0; i < 30; i++)
		keep(strdup("0123456789"));
}

NOINLINE static void free_all()
{
	for (int i = 0; i < 50; i++)
		operator delete(keep(operator new(hidden(24))));
}

int main()
{
	ready();
	leak_by_new();
	leak_by_strdup();
	free_all();
	truth("leak_by_new", 20 * 40, 20);
	truth("leak_by_strdup", 30 * 11, 30);
	truth("free_all", 0, 0);
	return finish();
}
