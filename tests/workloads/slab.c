/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Makes and removes kernel objects whose number is known.
 *
 *	slab churn DIRECTORY N KEPT	N files, N pipes and N sockets, one after the other; then
 *					opens KEPT files more and keeps them open
 *	slab leak PATH PER_SECOND	opens a file again and again until it is told to stop
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "protocol.h"

static void make_file(const char *path)
{
	int file = open(path, O_CREAT | O_EXCL | O_RDWR, 0600);

	CHECK(file >= 0);
	CHECK(!close(file));
	CHECK(!unlink(path));
}

static void make_pipe(void)
{
	int ends[2];

	CHECK(!pipe(ends));
	CHECK(!close(ends[0]));
	CHECK(!close(ends[1]));
}

static void make_socket(void)
{
	int end = socket(AF_UNIX, SOCK_STREAM, 0);

	CHECK(end >= 0);
	CHECK(!close(end));
}

/* As many as this process may have without asking anybody. */
static size_t allow_files(void)
{
	struct rlimit limit;

	CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
	return limit.rlim_cur;
}

static int churn(char **argv)
{
	size_t n = strtoul(argv[1], NULL, 10), kept = strtoul(argv[2], NULL, 10);
	char path[256];

	CHECK(snprintf(path, sizeof(path), "%s/file", argv[0]) < (int)sizeof(path));
	CHECK(allow_files() > kept + 64);
	ready();
	for (size_t i = 0; i < n; i++) {
		make_file(path);
		make_pipe();
		make_socket();
	}
	/* Nothing but files: an open directory can have a dentry of its own. */
	for (size_t i = 0; i < kept; i++)
		CHECK(open("/proc/self/exe", O_RDONLY) >= 0);
	truth_fact("files", n);
	truth_fact("pipes", n);
	truth_fact("sockets", n);
	truth_fact("kept", kept);
	return finish();
}

static int leak(char **argv)
{
	long per_second = strtol(argv[1], NULL, 10);
	struct timespec pause = {.tv_nsec = 1000000000 / per_second};
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	size_t opened = 0, most;

	most = allow_files() - 64;
	ready();
	while (poll(&input, 1, 0) == 0) {
		if (opened < most) {
			CHECK(open(argv[0], O_RDONLY) >= 0);
			opened++;
		}
		nanosleep(&pause, NULL);
	}
	truth_fact("opened", opened);
	return finish();
}

int main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "churn") == 0)
		return churn(argv + 2);
	if (argc == 4 && strcmp(argv[1], "leak") == 0)
		return leak(argv + 2);
	fail("usage: slab churn DIRECTORY N KEPT | slab leak PATH PER_SECOND");
	return 2;
}
