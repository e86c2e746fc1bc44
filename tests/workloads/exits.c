/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A program that leaks and ends at once, without a word to anybody.
 *
 *	exits		ends with status 7
 *	exits signal	ends by SIGTERM
 *	exits kill	ends by SIGKILL
 *	exits abort	ends by SIGABRT
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>

#include "protocol.h"

/* Before main, where a tool that attaches late sees nothing. */
__attribute__((constructor)) NOINLINE void leak_in_constructor(void)
{
	for (int i = 0; i < 3; i++)
		keep(malloc(1111));
	truth("leak_in_constructor", 3 * 1111, 3);
}

NOINLINE void leak_in_main(void)
{
	for (int i = 0; i < 40; i++)
		keep(malloc(222));
	truth("leak_in_main", 40 * 222, 40);
}

NOINLINE void leak_in_last_thread(void)
{
	for (int i = 0; i < 5; i++)
		keep(malloc(33));
	truth("leak_in_last_thread", 5 * 33, 5);
}

static void *run(void *unused)
{
	leak_in_last_thread();
	return unused;
}

NOINLINE void leak_at_exit(void)
{
	keep(malloc(4444));
	truth("leak_at_exit", 4444, 1);
}

int main(int argc, char **argv)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, run, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	leak_in_main();
	if (argc == 2 && strcmp(argv[1], "signal") == 0)
		raise(SIGTERM);
	if (argc == 2 && strcmp(argv[1], "kill") == 0)
		raise(SIGKILL);
	if (argc == 2 && strcmp(argv[1], "abort") == 0)
		abort();
	atexit(leak_at_exit);
	return 7;
}
