/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* An allocator that samples. */
#ifndef WORKLOADS_SAMPLER_H
#define WORKLOADS_SAMPLER_H

#include <stddef.h>

void *sampler_alloc(size_t bytes);
void sampler_free(void *block);
/* How many listen to its probes. */
int sampler_listeners(void);

#endif
