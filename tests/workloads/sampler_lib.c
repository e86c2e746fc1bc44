/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * An allocator that samples: it tells of every tenth allocation of a size, which stands for ten,
 * and of all that are large. Without frame pointers, as libraries are.
 */
#include <stdlib.h>
#include <string.h>

#include "sampler.h"
#include "usdt.h"

#define EVERY 10
#define LARGE (1UL << 20)

USDT_SEMAPHORE(sampler_alloc_semaphore);
USDT_SEMAPHORE(sampler_free_semaphore);

/* Before each block: whether it was told of. */
#define HEADER 16

static size_t taken;

void *sampler_alloc(size_t bytes)
{
	char *block = malloc(bytes + HEADER);
	size_t weight = 0;

	if (!block)
		return NULL;
	if (sampler_alloc_semaphore) {
		if (bytes >= LARGE)
			weight = bytes;
		else if (++taken % EVERY == 0)
			weight = EVERY * bytes;
	}
	memcpy(block, &weight, sizeof(weight));
	if (weight)
		USDT3("otel_memory", "alloc", "sampler_alloc_semaphore", block + HEADER, bytes,
		      weight);
	return block + HEADER;
}

void sampler_free(void *block)
{
	char *start = (char *)block - HEADER;
	size_t weight;

	memcpy(&weight, start, sizeof(weight));
	if (weight && sampler_free_semaphore)
		USDT1("otel_memory", "free", "sampler_free_semaphore", block);
	free(start);
}

int sampler_listeners(void)
{
	return sampler_alloc_semaphore + sampler_free_semaphore;
}
