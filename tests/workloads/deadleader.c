/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Its leader thread has exited before "ready": the process lives on in another thread. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>

#include "protocol.h"

NOINLINE void leak_without_leader(void)
{
	for (int i = 0; i < 60; i++)
		CHECK(keep(malloc(350)));
	truth("leak_without_leader", 60 * 350, 60);
	truth_events(60, 0);
}

/* The state in /proc/PID/stat comes after the name, which ends in a parenthesis. */
static char leader_state(void)
{
	char path[64], stat[512];
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)getpid());
	fd = open(path, O_RDONLY);
	CHECK(fd >= 0);
	length = read(fd, stat, sizeof(stat) - 1);
	CHECK(length > 0);
	close(fd);
	stat[length] = '\0';
	return strrchr(stat, ')')[2];
}

static void *outlive(void *unused)
{
	(void)unused;
	while (leader_state() != 'Z')
		sched_yield();
	ready();
	leak_without_leader();
	exit(finish());
}

int main(void)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, outlive, NULL) == 0);
	pthread_exit(NULL);
}
