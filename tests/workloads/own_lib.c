/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Takes blocks from the front of one area and never gives any back. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "own.h"

#define AREA_SIZE   (16UL << 20)
#define HEADER_SIZE 16

__thread sigjmp_buf own_escape;

static char area[AREA_SIZE] __attribute__((aligned(16)));
static atomic_size_t used;

static void *take(size_t size)
{
	size_t whole = (size + HEADER_SIZE + 15) & ~15UL;
	size_t place = atomic_fetch_add(&used, whole);

	if (place + whole > AREA_SIZE)
		return NULL;
	memcpy(area + place, &size, sizeof(size));
	return area + place + HEADER_SIZE;
}

void *own_malloc(size_t size)
{
	if (size == OWN_LONGJMP)
		siglongjmp(own_escape, 1);
	if (size == OWN_CANCEL) {
		for (;;)
			pause();
	}
	return take(size);
}

void *own_calloc(size_t count, size_t size)
{
	void *block = own_malloc(count * size);

	return block ? memset(block, 0, count * size) : NULL;
}

void *own_realloc(void *block, size_t size)
{
	void *fresh = take(size);
	size_t old = 0;

	if (!fresh || !block)
		return fresh;
	memcpy(&old, (char *)block - HEADER_SIZE, sizeof(old));
	return memcpy(fresh, block, old < size ? old : size);
}

void own_free(void *block)
{
	/* Something to do, or the function would be a single ret. */
	if (block)
		memset((char *)block - HEADER_SIZE, 0xff, sizeof(size_t));
}

void own_forget_all(void)
{
	atomic_store(&used, 0);
}
