/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A tree of processes, of which every one leaks an amount of its own.
 *
 *	tree held N	N children, every other one by exec and one of four with a child of its own,
 *			that wait for the second "go" before they leak; all of them are there until
 *			the third
 *	tree hasty N	N children that leak at once, and end
 *	tree turns N MS	the children of "held", one after another: each waits so many milliseconds
 *			before it leaks
 *
 * Child I leaks I + 1 blocks of 100 + I bytes, its own child the same.
 */
#define _GNU_SOURCE
#include <sys/wait.h>

#include "protocol.h"

#define INHERITED	50
#define INHERITED_BYTES 333

static void *inherited[INHERITED];

NOINLINE void allocate_in_parent(void)
{
	for (int i = 0; i < INHERITED; i++) {
		inherited[i] = keep(malloc(INHERITED_BYTES));
		CHECK(inherited[i]);
	}
}

NOINLINE void allocate_as_child(int number)
{
	for (int i = 0; i <= number; i++)
		CHECK(keep(malloc(100 + number)));
}

/* What a child frees of its parent's stays the parent's, and is no loss. */
NOINLINE void free_inherited(void)
{
	for (int i = 0; i < INHERITED; i++) {
		free(inherited[i]);
		inherited[i] = NULL;
	}
}

/* Until nobody can write there any more. */
static void wait_for_end_of(int fd)
{
	char c;

	while (read(fd, &c, 1) > 0)
		;
}

static void live(int number, int begin, int leaked, int end)
{
	if (begin >= 0)
		wait_for_end_of(begin);
	free_inherited();
	allocate_as_child(number);
	CHECK(write(leaked, "x", 1) == 1);
	if (end >= 0)
		wait_for_end_of(end);
	_exit(0);
}

static int number_of(const char *text)
{
	return (int)strtol(text, NULL, 10);
}

/* Another image of the same process: tree child NUMBER BEGIN LEAKED END */
static void live_in_another_image(int number, int begin, int leaked, int end)
{
	char words[4][12];

	snprintf(words[0], sizeof(words[0]), "%d", number);
	snprintf(words[1], sizeof(words[1]), "%d", begin);
	snprintf(words[2], sizeof(words[2]), "%d", leaked);
	snprintf(words[3], sizeof(words[3]), "%d", end);
	execl("/proc/self/exe", "tree-child", "child", words[0], words[1], words[2], words[3],
	      (char *)NULL);
	_exit(72);
}

struct ways {
	int begin[2];
	int leaked[2];
	int end[2];
};

static void tell(const char *name, int number, const struct ways *ways, int is_held)
{
	say("{\"%s_%d\":%d}", name, number, (int)getpid());
	if (is_held)
		CHECK(write(ways->leaked[1], "x", 1) == 1);
}

static void child(int number, const struct ways *ways, int is_held)
{
	int begin = is_held ? ways->begin[0] : -1;
	int end = is_held ? ways->end[0] : -1;

	close(ways->begin[1]);
	close(ways->end[1]);
	if (is_held && number % 4 == 3 && fork() == 0) {
		tell("grandchild", number, ways, is_held);
		live(number, begin, ways->leaked[1], end);
	}
	tell("child", number, ways, is_held);
	if (number % 2)
		live_in_another_image(number, begin, ways->leaked[1], end);
	live(number, begin, ways->leaked[1], end);
}

static void await(int processes, const struct ways *ways)
{
	char c;

	for (int i = 0; i < processes; i++)
		CHECK(read(ways->leaked[0], &c, 1) == 1);
}

static void await_go(void)
{
	char line[32];

	CHECK(read_line(line, sizeof(line)) && strcmp(line, "go") == 0);
}

static void open_ways(struct ways *ways)
{
	CHECK(pipe(ways->begin) == 0 && pipe(ways->leaked) == 0 && pipe(ways->end) == 0);
}

static void take_turns(int count, int milliseconds)
{
	for (int i = 0; i < count; i++) {
		int processes = i % 4 == 3 ? 2 : 1;
		struct ways ways;

		open_ways(&ways);
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0)
			child(i, &ways, 1);
		await(processes, &ways);
		usleep(milliseconds * 1000);
		close(ways.begin[1]);
		await(processes, &ways);
		close(ways.end[1]);
		CHECK(waitpid(pid, NULL, 0) == pid);
		close(ways.begin[0]);
		close(ways.leaked[0]);
		close(ways.leaked[1]);
		close(ways.end[0]);
	}
}

int main(int argc, char **argv)
{
	int count, is_held, processes;
	struct ways ways;

	if (argc == 6 && strcmp(argv[1], "child") == 0)
		live(number_of(argv[2]), number_of(argv[3]), number_of(argv[4]),
		     number_of(argv[5]));
	if (argc == 4 && strcmp(argv[1], "turns") == 0) {
		ready();
		take_turns(number_of(argv[2]), number_of(argv[3]));
		return finish();
	}
	CHECK(argc == 3);
	is_held = strcmp(argv[1], "held") == 0;
	count = number_of(argv[2]);
	processes = count + (is_held ? count / 4 : 0);
	ready();
	allocate_in_parent();
	open_ways(&ways);
	for (int i = 0; i < count; i++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0)
			child(i, &ways, is_held);
	}
	if (is_held) {
		await(processes, &ways);
		say("done");
		await_go();
		close(ways.begin[1]);
	}
	await(processes, &ways);
	truth("allocate_in_parent", INHERITED * INHERITED_BYTES, INHERITED);
	say("done");
	if (is_held)
		await_go();
	close(ways.end[1]);
	for (int i = 0; i < count; i++)
		CHECK(wait(NULL) > 0);
	return finish();
}
