/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Many stacks, each of which keeps a few blocks. When that is done, it goes on allocating a little
 * until the test's next line ends it.
 *
 *	manystacks STACKS BLOCKS PER_SECOND
 */
#include <poll.h>
#include <time.h>

#include "protocol.h"

#define LEVELS 16 /* of two functions each: 65,536 stacks */
#define BYTES  64

static size_t live;

NOINLINE void descend(unsigned int path, int level);

NOINLINE void leaf(void)
{
	CHECK(keep(malloc(BYTES)));
	live++;
}

NOINLINE void left(unsigned int path, int level)
{
	descend(path, level);
	keep(&path);
}

NOINLINE void right(unsigned int path, int level)
{
	descend(path, level);
	keep(&path);
}

NOINLINE void descend(unsigned int path, int level)
{
	if (level == 0)
		leaf();
	else if (path & 1)
		left(path >> 1, level - 1);
	else
		right(path >> 1, level - 1);
	keep(&path);
}

/* A tenth of a second's worth, and whether to go on. */
static int trickle(unsigned int stacks, unsigned int per_second)
{
	static unsigned int next;
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};

	for (unsigned int i = 0; i < per_second / 10; i++)
		descend(next++ % stacks, LEVELS);
	return poll(&in, 1, 100) == 0;
}

int main(int argc, char **argv)
{
	unsigned int stacks, blocks, per_second;
	char line[32];

	CHECK(argc == 4);
	stacks = strtoul(argv[1], NULL, 10);
	blocks = strtoul(argv[2], NULL, 10);
	per_second = strtoul(argv[3], NULL, 10);
	CHECK(stacks > 0 && stacks <= 1u << LEVELS);
	ready();
	for (unsigned int i = 0; i < stacks * blocks; i++)
		descend(i % stacks, LEVELS);
	truth("leaf", live * BYTES, live);
	truth_events(live, 0);
	say("done");
	while (trickle(stacks, per_second))
		;
	if (read_line(line, sizeof(line)))
		be_alive();
	return 0;
}
