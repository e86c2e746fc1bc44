/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Leaks a block every few milliseconds, and says after each how much that is by now and what the
 * time is, until it is told to end.
 */
#include <poll.h>
#include <time.h>

#include "protocol.h"

#define BLOCK_BYTES 1000
#define PAUSE_MS    5

NOINLINE void leak_steadily(void)
{
	CHECK(keep(malloc(BLOCK_BYTES)));
}

static size_t wall_clock_ms(void)
{
	struct timespec now;

	CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int main(void)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	size_t count = 0;

	ready();
	do {
		leak_steadily();
		count++;
		say("{\"leaked\":%zu,\"at_ms\":%zu}", count * BLOCK_BYTES, wall_clock_ms());
	} while (poll(&input, 1, PAUSE_MS) == 0);
	truth("leak_steadily", count * BLOCK_BYTES, count);
	return finish();
}
