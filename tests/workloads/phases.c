/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Leaks in two phases: the second comes after a second "go". What few large blocks hold, many small
 * ones, and those of the second phase all differ, so that each order has another stack first.
 */
#include "protocol.h"

NOINLINE void leak_large(size_t count)
{
	for (size_t i = 0; i < count; i++)
		CHECK(keep(malloc(20000)));
}

NOINLINE void leak_small(size_t count)
{
	for (size_t i = 0; i < count; i++)
		CHECK(keep(malloc(24)));
}

NOINLINE void leak_late(size_t count)
{
	for (size_t i = 0; i < count; i++)
		CHECK(keep(malloc(3000)));
}

/* Both phases go through here, for whoever looks at callers. */
NOINLINE void serve_phase(size_t large, size_t small, size_t late)
{
	leak_large(large);
	leak_small(small);
	leak_late(late);
}

int main(void)
{
	char line[32];

	ready();
	serve_phase(3, 500, 0);
	truth("leak_large", 3 * 20000, 3);
	truth("leak_small", 500 * 24, 500);
	say("done");
	do {
		if (!read_line(line, sizeof(line)))
			return 0;
		if (strcmp(line, "quit") == 0) {
			be_alive();
			return 0;
		}
	} while (strcmp(line, "go") != 0);
	serve_phase(2, 0, 9);
	truth("leak_large", 2 * 20000, 2);
	truth("leak_small", 0, 0);
	truth("leak_late", 9 * 3000, 9);
	return finish();
}
