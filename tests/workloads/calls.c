/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Makes system calls whose number is known.
 *
 *	calls hammer THREADS N	each thread calls getppid N times, all at once
 *	calls threads N		N threads, one after the other, each calls getppid once
 *	calls block		a thread blocks in read until the end; truth tells which
 *	calls blocked		the same, and it does so before the trace
 *	calls errors N		N times each: open of nothing, read of no file, an unknown call
 *	calls refused N		N times getppid, which seccomp answers with EPERM
 *	calls compat N		N times getppid as a 32-bit call
 *	calls once		a few threads, one after the other, without a word to anybody
 *	calls family N		N children, and one child of each, call getppid once
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "protocol.h"

/* No kernel has it, and it has no place in a table of the usual size. */
#define UNKNOWN_CALL 99999

static size_t calls_each;
static pthread_barrier_t start;

static void *hammer(void *unused)
{
	pthread_barrier_wait(&start);
	for (size_t i = 0; i < calls_each; i++)
		syscall(SYS_getppid);
	return unused;
}

static int hammer_all(size_t threads)
{
	pthread_t *made = calloc(threads, sizeof(*made));

	CHECK(made);
	CHECK(!pthread_barrier_init(&start, NULL, threads));
	ready();
	for (size_t i = 0; i < threads; i++)
		CHECK(!pthread_create(&made[i], NULL, hammer, NULL));
	for (size_t i = 0; i < threads; i++)
		CHECK(!pthread_join(made[i], NULL));
	truth_fact("getppid", threads * calls_each);
	return finish();
}

static void *call_once(void *unused)
{
	syscall(SYS_getppid);
	return unused;
}

static int make_threads(size_t threads)
{
	pthread_t thread;

	ready();
	for (size_t i = 0; i < threads; i++) {
		CHECK(!pthread_create(&thread, NULL, call_once, NULL));
		CHECK(!pthread_join(thread, NULL));
	}
	truth_fact("getppid", threads);
	return finish();
}

static int run_once(void)
{
	pthread_t thread;

	for (int i = 0; i < 5; i++) {
		CHECK(!pthread_create(&thread, NULL, call_once, NULL));
		CHECK(!pthread_join(thread, NULL));
	}
	return 0;
}

static int ends[2];
static _Atomic pid_t reader;

static void *block(void *unused)
{
	char byte;

	reader = gettid();
	CHECK(read(ends[0], &byte, 1) == 1);
	return unused;
}

/* The thread blocks before the test says go if it is told `early`. */
static int block_in_read(int early)
{
	pthread_t thread;

	CHECK(!pipe(ends));
	if (early)
		CHECK(!pthread_create(&thread, NULL, block, NULL));
	ready();
	if (!early)
		CHECK(!pthread_create(&thread, NULL, block, NULL));
	while (!reader)
		usleep(1000);
	truth_fact("thread", reader);
	finish();
	CHECK(write(ends[1], "x", 1) == 1);
	CHECK(!pthread_join(thread, NULL));
	return 0;
}

static int make_errors(size_t times)
{
	char byte;

	ready();
	for (size_t i = 0; i < times; i++) {
		CHECK(syscall(SYS_openat, AT_FDCWD, "/nothing/of/that/name", O_RDONLY) < 0 &&
		      errno == ENOENT);
		CHECK(syscall(SYS_read, -1, &byte, 1) < 0 && errno == EBADF);
		CHECK(syscall(UNKNOWN_CALL) < 0 && errno == ENOSYS);
	}
	truth_fact("ENOENT", times);
	truth_fact("EBADF", times);
	truth_fact("ENOSYS", times);
	return finish();
}

static int make_refused_calls(size_t times)
{
	struct sock_filter refuse[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(refuse) / sizeof(*refuse), .filter = refuse};

	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
	ready();
	for (size_t i = 0; i < times; i++)
		CHECK(syscall(SYS_getppid) < 0 && errno == EPERM);
	truth_fact("refused", times);
	return finish();
}

#if defined(__x86_64__)
static long compat_getppid(void)
{
	long result;

	/* Number 64 of the 32-bit table; of the 64-bit one it is semget. */
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(64L)
			 : "memory", "r8", "r9", "r10", "r11");
	return result;
}
#endif

static int make_compat_calls(size_t times)
{
	size_t made = 0;

	ready();
#if defined(__x86_64__)
	for (; made < times && compat_getppid() == getppid(); made++)
		;
#endif
	truth_fact("compat", made);
	return finish();
}

static int make_family(size_t children)
{
	ready();
	for (size_t i = 0; i < children; i++) {
		pid_t child = fork();

		CHECK(child >= 0);
		if (child == 0) {
			child = fork();
			CHECK(child >= 0);
			if (child)
				waitpid(child, NULL, 0);
			syscall(SYS_getppid);
			_exit(0);
		}
		CHECK(waitpid(child, NULL, 0) == child);
	}
	truth_fact("getppid", 2 * children);
	return finish();
}

int main(int argc, char **argv)
{
	size_t number = argc > 2 ? strtoul(argv[argc - 1], NULL, 10) : 0;

	if (argc == 4 && strcmp(argv[1], "hammer") == 0) {
		calls_each = number;
		return hammer_all(strtoul(argv[2], NULL, 10));
	}
	if (argc == 3 && strcmp(argv[1], "threads") == 0)
		return make_threads(number);
	if (argc == 2 && strcmp(argv[1], "block") == 0)
		return block_in_read(0);
	if (argc == 2 && strcmp(argv[1], "blocked") == 0)
		return block_in_read(1);
	if (argc == 2 && strcmp(argv[1], "once") == 0)
		return run_once();
	if (argc == 3 && strcmp(argv[1], "errors") == 0)
		return make_errors(number);
	if (argc == 3 && strcmp(argv[1], "refused") == 0)
		return make_refused_calls(number);
	if (argc == 3 && strcmp(argv[1], "compat") == 0)
		return make_compat_calls(number);
	if (argc == 3 && strcmp(argv[1], "family") == 0)
		return make_family(number);
	fail("usage: calls hammer THREADS N | threads N | block | blocked | once | errors N | "
	     "refused N | compat N | family N");
	return 2;
}
