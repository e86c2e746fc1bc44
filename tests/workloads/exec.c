/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Allocates, then becomes another image of itself under the same PID, at the same addresses: what
 * the first image held is gone, and the same stack means another one's blocks.
 *
 *	exec		two images
 *	exec N		N execs, with many blocks before the first
 */
#define _GNU_SOURCE
#include <sys/personality.h>

#include "protocol.h"

NOINLINE void leak_before_exec(void)
{
	for (int i = 0; i < 100; i++)
		CHECK(keep(malloc(1000)));
}

NOINLINE void leak_in_both(int count)
{
	for (int i = 0; i < count; i++)
		CHECK(keep(malloc(200)));
}

NOINLINE void leak_after_exec(void)
{
	for (int i = 0; i < 30; i++)
		CHECK(keep(malloc(300)));
}

static void become(const char *self, const char *mode)
{
	execl("/proc/self/exe", self, mode, NULL);
	fail("cannot execute itself");
}

int main(int argc, char **argv)
{
	static char rest[24];
	long images = argc == 2 ? strtol(argv[1], NULL, 10) : 0;

	if (argc == 1) {
		personality(ADDR_NO_RANDOMIZE);
		become(argv[0], "before");
	}
	if (argc == 2 && images > 0) {
		/* Only the first one allocates. Randomization is not off yet in it. */
		if (!(personality(0xffffffff) & ADDR_NO_RANDOMIZE)) {
			ready();
			leak_in_both(1000);
		}
		personality(ADDR_NO_RANDOMIZE);
		snprintf(rest, sizeof(rest), "%ld", images - 1);
		become(argv[0], images > 1 ? rest : "after");
	}
	if (strcmp(argv[1], "before") == 0) {
		ready();
		leak_before_exec();
		leak_in_both(17);
		become(argv[0], "after");
	}
	leak_in_both(5);
	leak_after_exec();
	truth("leak_before_exec", 0, 0);
	truth("leak_in_both", 5 * 200, 5);
	truth("leak_after_exec", 30 * 300, 30);
	return finish();
}
