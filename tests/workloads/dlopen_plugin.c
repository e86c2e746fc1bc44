/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Built several times with another PLUGIN_NAME: the libraries differ in nothing but the name. */
#include <stdlib.h>

#define NAME_OF(plugin) leak_in_##plugin
#define NAME(plugin)	NAME_OF(plugin)

void NAME(PLUGIN_NAME)(size_t size, int count);

__attribute__((noinline)) void NAME(PLUGIN_NAME)(size_t size, int count)
{
	for (int i = 0; i < count; i++) {
		void *block = malloc(size);

		__asm__ volatile("" : : "r"(block) : "memory");
	}
}
