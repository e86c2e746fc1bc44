/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * signals N: N pairs of malloc and free under a storm of signals, whose handler runs on a stack of
 * its own, and allocations on stacks that the program has made and switches by itself.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/time.h>
#include <ucontext.h>

#include "protocol.h"

#define FIBERS	   4
#define SWITCHES   50
#define STACK_SIZE (256 * 1024)

static volatile sig_atomic_t alarms;
static ucontext_t scheduler;
static ucontext_t fibers[FIBERS];
static char stacks[FIBERS][STACK_SIZE];
static char signal_stack[STACK_SIZE];

static void on_alarm(int number)
{
	(void)number;
	alarms++;
}

static void start_alarms(void)
{
	stack_t stack = {.ss_sp = signal_stack, .ss_size = sizeof(signal_stack)};
	struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_ONSTACK};
	struct itimerval often = {.it_interval.tv_usec = 500, .it_value.tv_usec = 500};

	CHECK(sigaltstack(&stack, NULL) == 0);
	CHECK(sigaction(SIGALRM, &action, NULL) == 0);
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
}

static void stop_alarms(void)
{
	struct itimerval never = {0};

	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
}

NOINLINE void leak_under_signals(void)
{
	CHECK(keep(malloc(20)));
}

/* Goes on until a signal has come, so that no machine is too fast for it. */
static size_t allocate_under_signals(size_t least)
{
	size_t pairs = 0;

	while (pairs < least || alarms < 3) {
		free(keep(malloc(pairs % 1000)));
		pairs++;
	}
	return pairs;
}

NOINLINE void leak_in_fiber(void)
{
	CHECK(keep(malloc(60)));
}

static void run_fiber(int self)
{
	for (int i = 0; i < SWITCHES; i++) {
		void *block = keep(malloc(10));

		leak_in_fiber();
		swapcontext(&fibers[self], &scheduler);
		free(block);
	}
}

static void make_fiber(int i)
{
	CHECK(getcontext(&fibers[i]) == 0);
	fibers[i].uc_stack.ss_sp = stacks[i];
	fibers[i].uc_stack.ss_size = STACK_SIZE;
	fibers[i].uc_link = &scheduler;
	makecontext(&fibers[i], (void (*)(void))run_fiber, 1, i);
}

static void run_fibers(void)
{
	for (int i = 0; i < FIBERS; i++)
		make_fiber(i);
	for (int i = 0; i <= SWITCHES; i++) {
		for (int fiber = 0; fiber < FIBERS; fiber++)
			CHECK(swapcontext(&scheduler, &fibers[fiber]) == 0);
	}
}

int main(int argc, char **argv)
{
	size_t pairs, leaks;

	CHECK(argc == 2);
	ready();
	start_alarms();
	leak_under_signals();
	pairs = allocate_under_signals(strtoul(argv[1], NULL, 10));
	leak_under_signals();
	stop_alarms();
	run_fibers();
	leaks = FIBERS * SWITCHES;
	truth("leak_under_signals", 40, 2);
	truth("leak_in_fiber", 60 * leaks, leaks);
	truth_events(pairs + 2 + 2 * leaks, pairs + leaks);
	return finish();
}
