/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* throws COUNT: exceptions through every function; one call in two throws. */
#include <new>
#include <stdexcept>

#include "protocol.h"

static volatile unsigned long sink;
static unsigned long thrown, caught;

struct Cleans {
	~Cleans()
	{
		sink = sink + 1;
	}
};

NOINLINE int thrower(int x)
{
	if (x & 1) {
		thrown++;
		throw std::runtime_error("thrown");
	}
	sink = sink + x;
	return x;
}

/* Nothing to clean up: no exception table. */
NOINLINE int passes(int x)
{
	int result = thrower(x);

	sink = sink + 1;
	return result + 1;
}

NOINLINE int cleans(int x)
{
	Cleans at_end;

	return passes(x) + 1;
}

/* A plain name. */
extern "C" NOINLINE int plain_passes(int x)
{
	int result = cleans(x);

	sink = sink + 2;
	return result + 1;
}

NOINLINE int catches(int x)
{
	try {
		return plain_passes(x);
	} catch (const std::exception &) {
		caught++;
		return -1;
	}
}

static int compare(const void *a, const void *b)
{
	thrower(*(const int *)a | *(const int *)b);
	return 0;
}

/* Through a function of the C library. */
NOINLINE int sorts(int x)
{
	int numbers[2] = {x, x};

	try {
		qsort(numbers, 2, sizeof(int), compare);
		return 0;
	} catch (const std::exception &) {
		caught++;
		return -1;
	}
}

/* 200 deep. */
NOINLINE int deep(int depth)
{
	int below = depth > 1 ? deep(depth - 1) : 0;

	sink = sink + depth;
	return below + 1;
}

int main(int argc, char **argv)
{
	long count = argc > 1 ? atol(argv[1]) : 1;

	ready();
	for (long i = 0; i < count; i++) {
		sink = sink + catches((int)i);
		sink = sink + sorts((int)i);
		/* operator new, with an exception that is caught. */
		try {
			delete[](char *) keep(new char[hidden(i & 1 ? ~0UL >> 1 : 16)]);
		} catch (const std::bad_alloc &) {
			caught++;
			thrown++;
		}
	}
	sink = sink + deep(200);
	truth_fact("calls", count);
	truth_fact("thrown", thrown);
	truth_fact("caught", caught);
	return finish();
}
