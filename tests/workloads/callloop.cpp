/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * callloop FUNCTION THREADS CALLS: for each "go" each thread calls FUNCTION, which does next to
 *nothing, CALLS times, and the program says how long that took: the wall time of the whole.
 *
 *	begins_with_endbr64	as compilers write functions for CET
 *	begins_with_push
 *	may_throw		of C++, and an exception can leave it
 */
#include <pthread.h>
#include <stdexcept>
#include <stdint.h>
#include <time.h>

#include "protocol.h"

#if defined(__x86_64__)
#define FUNCTION(name, first)                                                                      \
	__asm__(".pushsection .text\n\t.globl " #name "\n\t.type " #name ", @function\n" #name     \
		":\n\t" first "push %rbp\n\tmov %rsp, %rbp\n\tlea 1(%rdi), %eax\n\tpop %rbp\n\t"   \
		"ret\n\t.size " #name ", . - " #name "\n\t.popsection");                           \
	extern "C" int name(int x)

FUNCTION(begins_with_endbr64, "endbr64\n\t");
FUNCTION(begins_with_push, "");

static const unsigned char endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
static const unsigned char push_rbp[] = {0x55};

static void check_beginnings()
{
	CHECK(!memcmp((const void *)begins_with_endbr64, endbr64, sizeof(endbr64)));
	CHECK(!memcmp((const void *)begins_with_push, push_rbp, sizeof(push_rbp)));
}
#else
extern "C" NOINLINE int begins_with_endbr64(int x)
{
	return x + 1;
}

extern "C" NOINLINE int begins_with_push(int x)
{
	return x + 1;
}

static void check_beginnings()
{
}
#endif

static volatile unsigned long cleaned;

struct Cleans {
	~Cleans()
	{
		cleaned = cleaned + 1;
	}
};

/* What it calls begins and ends outside of any probe. */
static NOINLINE int throw_below_zero(int x)
{
	if (x < 0)
		throw std::range_error("negative");
	return x + 1;
}

NOINLINE int may_throw(int x)
{
	Cleans at_end;

	return throw_below_zero(x);
}

static const struct {
	const char *name;
	int (*function)(int);
} functions[] = {
	{"begins_with_endbr64", begins_with_endbr64},
	{"begins_with_push", begins_with_push},
	{"may_throw", may_throw},
};

static int (*function)(int);
static size_t calls;
static pthread_barrier_t start, end;

static void *run_thread(void *unused)
{
	for (;;) {
		pthread_barrier_wait(&start);
		for (size_t i = 0; i < calls; i++)
			function((int)(i & 1));
		pthread_barrier_wait(&end);
	}
	return unused;
}

static uint64_t now_ns()
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

int main(int argc, char **argv)
{
	size_t threads, made = 0;
	char line[32];

	CHECK(argc == 4);
	check_beginnings();
	for (const auto &known : functions)
		if (strcmp(known.name, argv[1]) == 0)
			function = known.function;
	threads = strtoul(argv[2], NULL, 10);
	calls = strtoul(argv[3], NULL, 10);
	CHECK(function && threads && calls);
	pthread_barrier_init(&start, NULL, threads + 1);
	pthread_barrier_init(&end, NULL, threads + 1);
	for (size_t i = 0; i < threads; i++) {
		pthread_t thread;

		CHECK(pthread_create(&thread, NULL, run_thread, NULL) == 0);
	}
	say("ready %d", (int)getpid());
	while (read_line(line, sizeof(line)) && strcmp(line, "quit") != 0) {
		uint64_t began;

		pthread_barrier_wait(&start);
		began = now_ns();
		pthread_barrier_wait(&end);
		truth_fact("ns", now_ns() - began);
		made += threads * calls;
		truth_fact("calls", made);
		say("done");
	}
	say("alive");
	return 0;
}
