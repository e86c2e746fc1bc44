/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How a workload talks to its test:
 *
 *	ready PID	it runs and has done all that comes before the trace
 *	< go		the test says that the trace is on
 *	{...}		truth lines: what it did, in JSON
 *	done		it does no more
 *	< quit		the test is through
 *	alive		it still runs and can still allocate
 *
 * The end of standard input ends a workload wherever it waits, so that none outlives its test.
 * Nothing here allocates: between "go" and "done" every allocation is one that the workload
 * counts.
 */
#ifndef WORKLOADS_PROTOCOL_H
#define WORKLOADS_PROTOCOL_H

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A function that keeps its own frame and its own name, whatever the optimizer thinks of it. */
#if defined(__GNUC__) && !defined(__clang__)
#define NOINLINE __attribute__((noipa))
#else
#define NOINLINE __attribute__((noinline))
#endif

/* Hides a pointer from the optimizer, which would else drop a malloc that nobody reads. */
static inline void *keep(void *block)
{
	__asm__ volatile("" : "+r"(block) : : "memory");
	return block;
}

/* The same for a size, so that the compiler cannot tell that an allocation must fail. */
static inline size_t hidden(size_t size)
{
	__asm__ volatile("" : "+r"(size));
	return size;
}

/* One line by one write, so that lines of several processes do not mix. */
__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...)
{
	char line[512];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(line, sizeof(line) - 1, format, args);
	va_end(args);
	line[length++] = '\n';
	if (write(STDOUT_FILENO, line, length) != length)
		_exit(70);
}

__attribute__((format(printf, 1, 2))) static inline void fail(const char *format, ...)
{
	char line[512];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(line, sizeof(line) - 1, format, args);
	va_end(args);
	line[length++] = '\n';
	if (write(STDERR_FILENO, line, length) != length)
		_exit(70);
	_exit(71);
}

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			fail("%s:%d: %s does not hold", __FILE__, __LINE__, #condition);           \
	} while (0)

/* Reads byte by byte: what comes after the line belongs to the next reader. */
static inline int read_line(char *line, size_t size)
{
	size_t length = 0;
	char c;

	while (read(STDIN_FILENO, &c, 1) == 1) {
		if (c == '\n') {
			line[length] = '\0';
			return 1;
		}
		if (length + 1 < size)
			line[length++] = c;
	}
	return 0;
}

/* The end of the protocol: it still runs and can still allocate. */
static inline void be_alive(void)
{
	for (size_t size = 1; size <= (1u << 20); size *= 2) {
		char *block = (char *)keep(malloc(size));

		CHECK(block);
		memset(block, 1, size);
		free(block);
	}
	say("alive");
}

/* A test may also let it end without having worked. */
static inline void ready(void)
{
	char line[32];

	say("ready %d", (int)getpid());
	do {
		if (!read_line(line, sizeof(line)))
			_exit(0);
		if (strcmp(line, "quit") == 0) {
			be_alive();
			_exit(0);
		}
	} while (strcmp(line, "go") != 0);
}

/* What `function` has allocated and nobody has freed. */
static inline void truth(const char *function, size_t bytes, size_t count)
{
	say("{\"function\":\"%s\",\"bytes\":%zu,\"count\":%zu}", function, bytes, count);
}

static inline void truth_class(const char *function, size_t bytes, const char *class_name)
{
	say("{\"function\":\"%s\",\"bytes\":%zu,\"class\":\"%s\"}", function, bytes, class_name);
}

static inline void truth_fact(const char *name, size_t value)
{
	say("{\"%s\":%zu}", name, value);
}

/*
 * Calls that gave or took memory between "go" and "done". A realloc that moved or resized a block
 * is one of each; a call that failed and a free(NULL) are none.
 */
static inline void truth_events(size_t allocs, size_t frees)
{
	say("{\"allocs\":%zu,\"frees\":%zu}", allocs, frees);
}

/* Says "done", and "alive" when it is let go. Its value is main's. */
static inline int finish(void)
{
	char line[32];
	int more;

	say("done");
	do {
		more = read_line(line, sizeof(line));
	} while (more && strcmp(line, "quit") != 0);
	be_alive();
	return 0;
}

#endif
