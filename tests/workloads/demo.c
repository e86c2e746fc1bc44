/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
// leaks: leak_sessions leak_requests leak_log_lines
/*
 * A small server that leaks in three places beside a lot of honest allocation: a cache that is
 * full at a fixed size, buffers that live for one request, jobs that one thread allocates and
 * another frees. It serves itself for ever and ends with its standard input.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <time.h>

#include "protocol.h"

#define TICK_NS		   10000000L
#define SESSIONS_PER_TICK  2
#define REQUESTS_PER_TICK  3
#define LOG_LINES_PER_TICK 10
#define BUFFERS_PER_TICK   60
#define JOBS_PER_TICK	   20
#define CACHE_ENTRIES	   64
#define WORKERS		   2
#define QUEUE_JOBS	   32

struct session {
	char user[32];
	char data[4064];
};

struct request {
	char path[100];
	char headers[900];
};

struct job {
	char work[500];
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct job *jobs[QUEUE_JOBS];
	size_t put;
	size_t taken;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static char *cache[CACHE_ENTRIES];

/* Forgotten when the user logs out. */
NOINLINE void leak_sessions(void)
{
	struct session *session = malloc(sizeof(*session));

	CHECK(session);
	snprintf(session->user, sizeof(session->user), "somebody");
	keep(session);
}

/* Forgotten when the client hangs up. */
NOINLINE void leak_requests(void)
{
	struct request *request = calloc(1, sizeof(*request));

	CHECK(request);
	keep(request);
}

/* Forgotten after it is written. */
NOINLINE void leak_log_lines(void)
{
	char *line = malloc(100);

	CHECK(line);
	snprintf(line, 100, "a request was served");
	keep(line);
}

NOINLINE void answer_with_buffer(size_t size)
{
	char *buffer = malloc(size);

	CHECK(buffer);
	memset(buffer, 0, size);
	keep(buffer);
	free(buffer);
}

NOINLINE void refresh_cache(size_t tick)
{
	char **entry = &cache[tick % CACHE_ENTRIES];

	free(*entry);
	*entry = malloc(256);
	CHECK(*entry);
	memset(*entry, 0, 256);
}

NOINLINE void put_job(void)
{
	struct job *job = malloc(sizeof(*job));

	CHECK(job);
	pthread_mutex_lock(&queue.lock);
	while (queue.put - queue.taken == QUEUE_JOBS)
		pthread_cond_wait(&queue.changed, &queue.lock);
	queue.jobs[queue.put++ % QUEUE_JOBS] = job;
	pthread_cond_broadcast(&queue.changed);
	pthread_mutex_unlock(&queue.lock);
}

NOINLINE struct job *take_job(void)
{
	struct job *job;

	pthread_mutex_lock(&queue.lock);
	while (queue.put == queue.taken)
		pthread_cond_wait(&queue.changed, &queue.lock);
	job = queue.jobs[queue.taken++ % QUEUE_JOBS];
	pthread_cond_broadcast(&queue.changed);
	pthread_mutex_unlock(&queue.lock);
	return job;
}

static void *work(void *unused)
{
	for (;;) {
		struct job *job = take_job();

		memset(job->work, 0, sizeof(job->work));
		free(job);
	}
	return unused;
}

NOINLINE void repeat(void (*serve_one)(void), int times)
{
	for (int i = 0; i < times; i++)
		serve_one();
}

NOINLINE void serve_tick(size_t tick)
{
	repeat(leak_sessions, SESSIONS_PER_TICK);
	repeat(leak_requests, REQUESTS_PER_TICK);
	repeat(leak_log_lines, LOG_LINES_PER_TICK);
	for (int i = 0; i < BUFFERS_PER_TICK; i++)
		answer_with_buffer(200 + 20 * i);
	for (int i = 0; i < JOBS_PER_TICK; i++)
		put_job();
	refresh_cache(tick);
}

static void *serve(void *unused)
{
	const struct timespec tick_length = {.tv_nsec = TICK_NS};

	for (size_t tick = 0;; tick++) {
		serve_tick(tick);
		nanosleep(&tick_length, NULL);
	}
	return unused;
}

int main(void)
{
	pthread_t thread;
	char byte;

	for (int i = 0; i < WORKERS; i++)
		CHECK(pthread_create(&thread, NULL, work, NULL) == 0);
	CHECK(pthread_create(&thread, NULL, serve, NULL) == 0);
	say("serving as PID %d", (int)getpid());
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	_exit(0);
}
