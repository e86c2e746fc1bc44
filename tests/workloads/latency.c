/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Functions that take known times: latency NAME COUNT [NAME COUNT]... calls each so often, one
 * after the other, and says how long that took by its own clock.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <time.h>

#include "protocol.h"

/* Also for the linker. */
#define EXPORTED __attribute__((visibility("default")))

#define MOST 1000000

static uint64_t measured[MOST];
static size_t measurements;
static volatile uint64_t sink;
static jmp_buf target;

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

static void add(uint64_t ns)
{
	if (measurements < MOST)
		measured[measurements++] = ns;
}

static void sleep_ns(uint64_t ns)
{
	struct timespec time = {ns / 1000000000, ns % 1000000000};

	while (nanosleep(&time, &time) && errno == EINTR)
		;
}

/* They measure themselves, inside: what is around them is not theirs. */
NOINLINE EXPORTED int busy_1us(int x)
{
	uint64_t start = now(), end;

	do {
		end = now();
	} while (end - start < 1000);
	add(end - start);
	return x + 1;
}

NOINLINE EXPORTED int sleep_1ms(int x)
{
	uint64_t start = now();

	sleep_ns(1000000);
	add(now() - start);
	return x + 2;
}

NOINLINE EXPORTED int sleep_50ms(int x)
{
	uint64_t start = now();

	sleep_ns(50000000);
	add(now() - start);
	return x + 3;
}

NOINLINE EXPORTED int sleep_3s(int x)
{
	uint64_t start = now();

	sleep_ns(3000000000ULL);
	add(now() - start);
	return x + 4;
}

/*
 * Each level's own time, inner ones included: the outermost takes about depth milliseconds. The
 * innermost measures itself.
 */
NOINLINE EXPORTED int recurse(int depth)
{
	uint64_t start = now();

	sleep_ns(1000000);
	if (depth > 1)
		sink += recurse(depth - 1);
	else
		add(now() - start);
	sink++;
	return depth;
}

NOINLINE EXPORTED int inner(int x)
{
	sleep_ns(2000000);
	return x * 2;
}

NOINLINE EXPORTED int outer(int x)
{
	int a = inner(x);

	sleep_ns(1000000);
	return a + inner(x);
}

/* A tail call. */
NOINLINE EXPORTED int by_tail(int x)
{
	sink++;
	return inner(x);
}

NOINLINE EXPORTED int conditional_tail(int x)
{
	if (x & 1)
		return inner(x);
	sink++;
	return x;
}

NOINLINE EXPORTED void jumps_out(int x)
{
	sink += x;
	longjmp(target, 1);
}

NOINLINE EXPORTED void calls_jumper(int x)
{
	jumps_out(x);
	sink++;
}

NOINLINE EXPORTED int never_returns(int x)
{
	pause();
	return x;
}

static int zero_fd = -1;

/* One system call. */
NOINLINE EXPORTED int read_zero(int x)
{
	char byte;

	sink += read(zero_fd, &byte, 1);
	return x;
}

static void on_signal(int number)
{
	sink += busy_1us(number);
}

/* A handler with a stack of its own that calls a traced function, in the middle of another one. */
NOINLINE EXPORTED int signalled(int x)
{
	raise(SIGUSR1);
	return x;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void tell_measured(const char *name)
{
	uint64_t total = 0;
	char fact[80];

	qsort(measured, measurements, sizeof(measured[0]), by_size);
	for (size_t i = 0; i < measurements; i++)
		total += measured[i];
#define FACT(what, value)                                                                          \
	do {                                                                                       \
		snprintf(fact, sizeof(fact), "%s.%s", name, what);                                 \
		truth_fact(fact, value);                                                           \
	} while (0)
	FACT("calls", measurements);
	FACT("total", total);
	FACT("min", measured[0]);
	FACT("max", measured[measurements - 1]);
	FACT("p50", measured[(measurements + 1) / 2 - 1]);
	FACT("p90", measured[(measurements * 90 + 99) / 100 - 1]);
	FACT("p99", measured[(measurements * 99 + 99) / 100 - 1]);
}

static void call(const char *name, int (*function)(int), int argument, long count)
{
	measurements = 0;
	for (long i = 0; i < count; i++) {
		uint64_t start = now();
		size_t before = measurements;

		sink += function(argument + (int)i);
		if (measurements == before)
			add(now() - start);
	}
	tell_measured(name);
}

static void call_jumper(long count)
{
	volatile long i;

	measurements = 0;
	for (i = 0; i < count; i++) {
		if (!setjmp(target))
			calls_jumper((int)i);
		add(1);
	}
	tell_measured("calls_jumper");
}

/* What setjmp has kept is where it was called from, traced or not. */
NOINLINE EXPORTED int set_and_jump(int x)
{
	jmp_buf here;
	volatile int times = 0;

	if (!setjmp(here) || times < 1) {
		times++;
		longjmp(here, 1);
	}
	return x + times;
}

/* The deepest call jumps out of all: the kernel holds returns that will never come. */
NOINLINE EXPORTED int recurse_and_jump(int depth)
{
	if (depth < 0)
		return 0;
	if (depth > 1)
		sink += recurse_and_jump(depth - 1);
	else
		longjmp(target, 1);
	sink++;
	return depth;
}

static void call_recurse_and_jump(int depth)
{
	if (!setjmp(target))
		recurse_and_jump(depth);
	measurements = 0;
	add(1);
	tell_measured("recurse_and_jump");
}

static void *in_thread(void *unused)
{
	never_returns(1);
	return unused;
}

/* In threads of their own. */
static void call_never(long count)
{
	measurements = 0;
	for (long i = 0; i < count; i++) {
		pthread_t thread;

		CHECK(!pthread_create(&thread, NULL, in_thread, NULL));
		add(1);
	}
	/* They are there before the next is done. */
	sleep_ns(200000000);
	tell_measured("never_returns");
}

static void *sleep_in_thread(void *unused)
{
	sleep_50ms(0);
	return unused;
}

static void call_in_threads(long count)
{
	pthread_t *threads = calloc(count, sizeof(*threads));

	CHECK(threads);
	measurements = 0;
	for (long i = 0; i < count; i++)
		CHECK(!pthread_create(&threads[i], NULL, sleep_in_thread, NULL));
	for (long i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	free(threads);
	measurements = 0;
	add(1);
	tell_measured("sleep_in_threads");
}

static void fixed(const char *name, int (*function)(int), int argument)
{
	uint64_t start = now();

	measurements = 0;
	sink += function(argument);
	add(now() - start);
	tell_measured(name);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*function)(int);
	} functions[] = {
		{"busy_1us", busy_1us},
		{"sleep_1ms", sleep_1ms},
		{"sleep_50ms", sleep_50ms},
		{"sleep_3s", sleep_3s},
		{"inner", inner},
		{"outer", outer},
		{"by_tail", by_tail},
		{"conditional_tail", conditional_tail},
		{"signalled", signalled},
		{"read_zero", read_zero},
		{"set_and_jump", set_and_jump},
	};
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
	stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};

	sigaltstack(&stack, NULL);
	sigaction(SIGUSR1, &action, NULL);
	zero_fd = open("/dev/zero", O_RDONLY);
	CHECK(zero_fd >= 0);
	ready();
	for (int arg = 1; arg + 1 < argc; arg += 2) {
		const char *name = argv[arg];
		long count = atol(argv[arg + 1]);

		if (!strcmp(name, "recurse"))
			fixed(name, recurse, (int)count);
		else if (!strcmp(name, "calls_jumper"))
			call_jumper(count);
		else if (!strcmp(name, "recurse_and_jump"))
			call_recurse_and_jump((int)count);
		else if (!strcmp(name, "sleep_in_threads"))
			call_in_threads(count);
		else if (!strcmp(name, "never_returns"))
			call_never(count);
		for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
			if (!strcmp(name, functions[i].name))
				call(name, functions[i].function, 0, count);
	}
	return finish();
}
