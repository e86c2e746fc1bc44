/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A leak in functions that have no frame of their own: only debug info knows them. */
#include "protocol.h"

#define INLINE static inline __attribute__((always_inline))

INLINE void *leak_inlined_twice(size_t size)
{
	return keep(malloc(size));
}

INLINE void *leak_inlined_once(size_t size)
{
	return leak_inlined_twice(size);
}

NOINLINE void leak_outer(void)
{
	for (int i = 0; i < 9; i++)
		CHECK(leak_inlined_once(99));
	truth("leak_outer", 9 * 99, 9);
}

int main(void)
{
	ready();
	leak_outer();
	return finish();
}
