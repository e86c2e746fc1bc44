/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * wrappers DIRECTORY: leaks through functions of libc that allocate for their caller. libc has no
 * frame pointers, so these callers are the ones that a stack walk loses. DIRECTORY holds a file
 * "lines". What libc takes for itself is its own business: such figures are "at least".
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <wchar.h>

#include "protocol.h"

#define TEXT "eleven char"

static const char *directory;

static void at_least(const char *function, size_t bytes)
{
	say("{\"function\":\"%s\",\"at_least\":%zu}", function, bytes);
}

NOINLINE void leak_strdup(void)
{
	for (int i = 0; i < 10; i++)
		CHECK(keep(strdup(TEXT)));
	truth("leak_strdup", 10 * sizeof(TEXT), 10);
}

NOINLINE void leak_strndup(void)
{
	for (int i = 0; i < 10; i++)
		CHECK(keep(strndup(TEXT, 6)));
	truth("leak_strndup", 10 * 7, 10);
}

NOINLINE void leak_wcsdup(void)
{
	for (int i = 0; i < 10; i++)
		CHECK(keep(wcsdup(L"wide")));
	truth("leak_wcsdup", 10 * 5 * sizeof(wchar_t), 10);
}

NOINLINE void leak_asprintf(void)
{
	for (int i = 0; i < 10; i++) {
		char *text;

		CHECK(asprintf(&text, "%s and %d", TEXT, i) > 0);
		keep(text);
	}
	at_least("leak_asprintf", 10 * (sizeof(TEXT) + 6));
}

NOINLINE void leak_long_asprintf(void)
{
	char *text;

	CHECK(asprintf(&text, "%5000d", 1) == 5000);
	keep(text);
	at_least("leak_long_asprintf", 5001);
}

__attribute__((format(printf, 1, 2))) NOINLINE void leak_vasprintf(const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	CHECK(vasprintf(&text, format, args) > 0);
	va_end(args);
	keep(text);
	at_least("leak_vasprintf", 101);
}

NOINLINE FILE *leak_fopen(void)
{
	char path[PATH_MAX];
	FILE *file;

	snprintf(path, sizeof(path), "%s/lines", directory);
	file = fopen(path, "r");
	CHECK(file);
	at_least("leak_fopen", sizeof(FILE));
	return file;
}

NOINLINE void leak_fdopen(void)
{
	CHECK(keep(fdopen(open("/dev/null", O_RDONLY), "r")));
	at_least("leak_fdopen", sizeof(FILE));
}

NOINLINE void leak_getline(FILE *file)
{
	char *line = NULL;
	size_t size = 0;

	CHECK(getline(&line, &size, file) > 0);
	keep(line);
	at_least("leak_getline", size);
}

NOINLINE void leak_getdelim(FILE *file)
{
	char *line = NULL;
	size_t size = 0;

	CHECK(getdelim(&line, &size, ';', file) > 0);
	keep(line);
	at_least("leak_getdelim", size);
}

NOINLINE void leak_open_memstream(void)
{
	static char *text;
	static size_t size;

	CHECK(keep(open_memstream(&text, &size)));
	at_least("leak_open_memstream", sizeof(FILE));
}

NOINLINE void leak_fmemopen(void)
{
	static char text[100];

	CHECK(keep(fmemopen(text, sizeof(text), "r")));
	at_least("leak_fmemopen", sizeof(FILE));
}

NOINLINE void leak_realpath(void)
{
	char *path = keep(realpath(directory, NULL));

	CHECK(path);
	at_least("leak_realpath", strlen(path) + 1);
}

NOINLINE void leak_getcwd(void)
{
	char *path = keep(getcwd(NULL, 0));

	CHECK(path);
	at_least("leak_getcwd", strlen(path) + 1);
}

NOINLINE void leak_opendir(void)
{
	CHECK(keep(opendir(directory)));
	at_least("leak_opendir", 1000);
}

NOINLINE void leak_scandir(void)
{
	struct dirent **entries;
	int count = scandir(directory, &entries, NULL, alphasort);

	CHECK(count == 3);
	keep(entries);
	at_least("leak_scandir", count * sizeof(*entries));
}

int main(int argc, char **argv)
{
	FILE *file;

	CHECK(argc == 2);
	directory = argv[1];
	ready();
	leak_strdup();
	leak_strndup();
	leak_wcsdup();
	leak_asprintf();
	leak_long_asprintf();
	leak_vasprintf("%s %88d", TEXT, 1);
	file = leak_fopen();
	leak_fdopen();
	leak_getline(file);
	leak_getdelim(file);
	leak_open_memstream();
	leak_fmemopen();
	leak_realpath();
	leak_getcwd();
	leak_opendir();
	leak_scandir();
	return finish();
}
