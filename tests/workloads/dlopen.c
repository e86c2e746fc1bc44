/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * dlopen DIRECTORY: loads libplugin_one.so, leaks in it, unloads it, and does the same with
 * libplugin_two.so and three, which come to lie at the same addresses.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdint.h>

#include "protocol.h"

static uintptr_t leak_in_plugin(const char *directory, const char *name, size_t size, int count)
{
	char path[PATH_MAX], function[64];
	void (*leak)(size_t size, int count);
	void *plugin;

	snprintf(path, sizeof(path), "%s/libplugin_%s.so", directory, name);
	snprintf(function, sizeof(function), "leak_in_%s", name);
	plugin = dlopen(path, RTLD_NOW);
	CHECK(plugin);
	*(void **)&leak = dlsym(plugin, function);
	CHECK(leak);
	leak(size, count);
	CHECK(dlclose(plugin) == 0);
	truth(function, size * count, count);
	return (uintptr_t)leak;
}

int main(int argc, char **argv)
{
	uintptr_t one, two, three;

	CHECK(argc == 2);
	ready();
	one = leak_in_plugin(argv[1], "one", 100, 11);
	two = leak_in_plugin(argv[1], "two", 200, 12);
	three = leak_in_plugin(argv[1], "three", 300, 13);
	truth_fact("same_address", one == two && two == three);
	return finish();
}
