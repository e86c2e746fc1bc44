/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Few leaks of plain sizes, for tests of how they are shown.
 *
 *	basic		four functions; the order by bytes is the reverse of the order by count
 *	basic many N	one function leaks N blocks of 48 bytes
 *	basic refill N	the same, after half as many were allocated and freed
 */
#include "protocol.h"

NOINLINE void leak_16(void)
{
	for (int i = 0; i < 100; i++)
		keep(malloc(16));
	truth("leak_16", 1600, 100);
}

NOINLINE void leak_64(void)
{
	for (int i = 0; i < 50; i++)
		keep(malloc(64));
	truth("leak_64", 3200, 50);
}

NOINLINE void leak_256(void)
{
	for (int i = 0; i < 25; i++)
		keep(malloc(256));
	truth("leak_256", 6400, 25);
}

NOINLINE void leak_4096(void)
{
	for (size_t i = 0; i < hidden(2); i++)
		keep(malloc(4096));
	truth("leak_4096", 8192, 2);
}

NOINLINE void borrow_512(void)
{
	for (int i = 0; i < 10; i++)
		free(keep(malloc(512)));
	truth("borrow_512", 0, 0);
}

NOINLINE void leak_many(size_t count)
{
	for (size_t i = 0; i < count; i++)
		keep(malloc(48));
	truth("leak_many", 48 * count, count);
}

NOINLINE void borrow_many(size_t count)
{
	static void *blocks[1 << 20];

	CHECK(count <= sizeof(blocks) / sizeof(*blocks));
	for (size_t i = 0; i < count; i++)
		blocks[i] = keep(malloc(48));
	for (size_t i = 0; i < count; i++)
		free(blocks[i]);
}

int main(int argc, char **argv)
{
	size_t many = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;

	ready();
	if (many && strcmp(argv[1], "refill") == 0) {
		borrow_many(many / 2);
		leak_many(many);
		truth_events(many + many / 2, many / 2);
	} else if (many) {
		leak_many(many);
		truth_events(many, 0);
	} else {
		leak_16();
		leak_64();
		leak_256();
		leak_4096();
		borrow_512();
		truth_events(187, 10);
	}
	return finish();
}
