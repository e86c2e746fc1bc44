/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A program that takes memory until it is killed for it.
 *
 *	oom eat			takes it itself
 *	oom eat NAME		the same under another name, in hexadecimal digits
 *	oom hold MEGABYTES	takes so much, as one to be killed first, and sleeps
 *	oom burst KILLS		has a child do it, again and again; says each one's PID and at the
 *				end how many were killed
 *	oom group CHILDREN	has children that sleep, says their PIDs, and takes it itself
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "protocol.h"

#define STEP (1 << 20)

static void set_adj(const char *adj)
{
	int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	CHECK(file >= 0);
	CHECK(write(file, adj, strlen(adj)) == (ssize_t)strlen(adj));
	close(file);
}

static void *map(size_t bytes, int flags)
{
	void *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);

	CHECK(block != MAP_FAILED);
	return block;
}

static void take(size_t bytes)
{
	memset(map(bytes, MAP_PRIVATE | MAP_ANONYMOUS), 1, bytes);
}

/* Memory of each kind that the kernel tells apart, then more and more of one. */
NOINLINE static void eat(void)
{
	memset(map(STEP, MAP_SHARED | MAP_ANONYMOUS), 1, STEP);
	for (;;)
		take(STEP);
}

static void set_name(const char *digits)
{
	char name[16] = {};
	unsigned int byte;

	for (int i = 0; i < 15 && sscanf(digits + 2 * i, "%2x", &byte) == 1; i++)
		name[i] = (char)byte;
	CHECK(prctl(PR_SET_NAME, name) == 0);
}

static int child_that_eats(void)
{
	pid_t child = fork();
	int status;

	CHECK(child >= 0);
	if (child == 0) {
		set_adj("1000");
		for (;;)
			take(STEP);
	}
	say("{\"killed\":%d}", child);
	CHECK(waitpid(child, &status, 0) == child);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void burst(int kills)
{
	int killed = 0;

	while (killed < kills)
		killed += child_that_eats();
	say("{\"kills\":%d}", killed);
}

static void group(int children)
{
	for (int i = 0; i < children; i++) {
		pid_t child = fork();

		CHECK(child >= 0);
		if (child == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		say("{\"killed\":%d}", child);
	}
	eat();
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	if (strcmp(mode, "hold") == 0)
		set_adj("1000");
	if (strcmp(mode, "eat") == 0 && argc == 3)
		set_name(argv[2]);
	ready();
	if (strcmp(mode, "hold") == 0)
		take((size_t)atoi(argv[2]) << 20);
	else if (strcmp(mode, "burst") == 0)
		burst(atoi(argv[2]));
	else if (strcmp(mode, "group") == 0)
		group(atoi(argv[2]));
	else
		eat();
	return finish();
}
