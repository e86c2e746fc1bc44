/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Children, whose allocations and frees are not the parent's.
 *
 *	fork fork	a child allocates much and frees what it has from the parent
 *	fork spawn	children by posix_spawn, which share memory with the parent until they exec
 */
#define _GNU_SOURCE
#include <spawn.h>
#include <sys/wait.h>

#include "protocol.h"

#define BLOCKS	 200
#define CHILDREN 20

static void *blocks[BLOCKS];

NOINLINE void allocate_in_parent(void)
{
	for (int i = 0; i < BLOCKS; i++) {
		blocks[i] = keep(malloc(500));
		CHECK(blocks[i]);
	}
}

NOINLINE void allocate_in_child(void)
{
	for (int i = 0; i < 1000; i++)
		CHECK(keep(malloc(600)));
	for (int i = 0; i < 1000; i++)
		free(keep(malloc(700)));
}

NOINLINE void free_in_child(void)
{
	for (int i = 0; i < BLOCKS; i++)
		free(blocks[i]);
}

NOINLINE void free_in_parent(void)
{
	for (int i = 0; i < BLOCKS / 2; i++)
		free(blocks[i]);
}

static void expect_success(pid_t child)
{
	int status;

	CHECK(child > 0);
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void fork_children(void)
{
	allocate_in_parent();
	for (int i = 0; i < CHILDREN; i++) {
		pid_t child = fork();

		if (child == 0) {
			free_in_child();
			allocate_in_child();
			_exit(0);
		}
		expect_success(child);
	}
	free_in_parent();
	truth("allocate_in_child", 0, 0);
	truth("allocate_in_parent", BLOCKS / 2 * 500, BLOCKS / 2);
	truth_events(BLOCKS, BLOCKS / 2);
}

static void spawn_children(void)
{
	static char *const args[] = {(char *)"true", NULL};
	pid_t child;

	allocate_in_parent();
	for (int i = 0; i < CHILDREN; i++) {
		CHECK(posix_spawnp(&child, "true", NULL, NULL, args, environ) == 0);
		expect_success(child);
	}
	truth("allocate_in_parent", BLOCKS * 500, BLOCKS);
	truth_events(BLOCKS, 0);
}

int main(int argc, char **argv)
{
	CHECK(argc == 2);
	ready();
	if (strcmp(argv[1], "spawn") == 0)
		spawn_children();
	else
		fork_children();
	return finish();
}
