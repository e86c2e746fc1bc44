/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Leaks under 30, 100 and 300 frames of recursion. */
#include "protocol.h"

NOINLINE void leak_at_30(void)
{
	CHECK(keep(malloc(30)));
}

NOINLINE void leak_at_100(void)
{
	CHECK(keep(malloc(100)));
}

NOINLINE void leak_at_300(void)
{
	CHECK(keep(malloc(300)));
}

NOINLINE void descend(int depth, void (*leak)(void))
{
	if (depth > 1)
		descend(depth - 1, leak);
	else
		leak();
}

int main(void)
{
	ready();
	descend(30, leak_at_30);
	descend(100, leak_at_100);
	descend(300, leak_at_300);
	truth("leak_at_30", 30, 1);
	truth("leak_at_100", 100, 1);
	truth("leak_at_300", 300, 1);
	truth_events(3, 0);
	return finish();
}
