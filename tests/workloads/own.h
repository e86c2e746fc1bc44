/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* An allocator of one's own, for what no real one can be made to do at will. */
#ifndef WORKLOADS_OWN_H
#define WORKLOADS_OWN_H

#include <setjmp.h>
#include <stddef.h>

/* Sizes that ask for trouble. */
#define OWN_LONGJMP 0xdead01 /* own_malloc leaves by longjmp to own_escape */
#define OWN_CANCEL  0xdead02 /* own_malloc is cancelled inside */

extern __thread sigjmp_buf own_escape;

void *own_malloc(size_t size);
void *own_calloc(size_t count, size_t size);
void *own_realloc(void *block, size_t size);
void own_free(void *block);

/* Gives all blocks away at once: the next ones have the old addresses. */
void own_forget_all(void);

#endif
