/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hold N: makes the kernel hold so many things of several kinds, and lets them all go at the second
 * "go". What this kernel has not is held 0 times.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "protocol.h"

#define MOST	   4096
#define HUGE	   ((size_t)2 << 20)
#define HUGE_PAGES 4
#define MAPS	   64
#define MAP_BYTES  (64 << 10)
#define CPU_MAPS   8
#define CPU_VALUES 64

static int files[MOST], pipes[MOST][2], sockets[MOST], maps[MAPS], cpu_maps[CPU_MAPS];
static int32_t keys[MOST];

static void allow_files(size_t n)
{
	struct rlimit limit;

	CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
	CHECK(limit.rlim_cur > 4 * n + 256);
	/* The table of files is made larger now: it is not what is counted. */
	CHECK(dup2(0, 4 * n + 250) >= 0);
}

static size_t add_keys(size_t n)
{
	static const char payload[96];
	char name[32];

	for (size_t i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "hold%zu", i);
		keys[i] = syscall(SYS_add_key, "user", name, payload, sizeof(payload),
				  KEY_SPEC_PROCESS_KEYRING);
		if (keys[i] < 0)
			return i;
	}
	return n;
}

static size_t make_maps(int *made, size_t n, int type, unsigned int value_size,
			unsigned int entries)
{
	union bpf_attr attr;

	for (size_t i = 0; i < n; i++) {
		memset(&attr, 0, sizeof(attr));
		attr.map_type = type;
		attr.key_size = 4;
		attr.value_size = value_size;
		attr.max_entries = entries;
		made[i] = syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
		if (made[i] < 0)
			return i;
	}
	return n;
}

/* Pages of a file in memory. */
static int fill(size_t bytes)
{
	static char block[64 << 10];
	int file = memfd_create("hold", 0);

	CHECK(file >= 0);
	for (size_t done = 0; done < bytes; done += sizeof(block))
		CHECK(write(file, block, sizeof(block)) == sizeof(block));
	return file;
}

/* Large pages, aligned as they have to be, or NULL. */
static char *map_huge(size_t *pages)
{
	size_t bytes = (HUGE_PAGES + 1) * HUGE;
	char *area = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *first = (char *)(((uintptr_t)area + HUGE - 1) & ~(HUGE - 1));

	CHECK(area != MAP_FAILED);
	*pages = 0;
	if (madvise(first, HUGE_PAGES * HUGE, MADV_HUGEPAGE))
		return first;
	for (size_t i = 0; i < HUGE_PAGES; i++)
		first[i * HUGE] = 1;
	*pages = HUGE_PAGES;
	return first;
}

static int pause_until_go(void)
{
	char line[32];

	say("done");
	do {
		if (!read_line(line, sizeof(line)))
			_exit(0);
		if (strcmp(line, "quit") == 0) {
			be_alive();
			_exit(0);
		}
	} while (strcmp(line, "go") != 0);
	return 0;
}

int main(int argc, char **argv)
{
	size_t n = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
	size_t held_keys, held_maps, held_cpu_maps, huge_pages;
	char *huge;
	int file;

	CHECK(n > 0 && n <= MOST);
	allow_files(n);
	ready();
	for (size_t i = 0; i < n; i++) {
		CHECK((files[i] = open("/dev/null", O_RDONLY)) >= 0);
		CHECK(!pipe(pipes[i]));
		CHECK((sockets[i] = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	}
	held_keys = add_keys(n);
	held_maps = make_maps(maps, MAPS, BPF_MAP_TYPE_ARRAY, MAP_BYTES, 1);
	held_cpu_maps = make_maps(cpu_maps, CPU_MAPS, BPF_MAP_TYPE_PERCPU_ARRAY, 256, CPU_VALUES);
	file = fill(n * 4096);
	huge = map_huge(&huge_pages);
	truth_fact("files", n);
	truth_fact("pipes", n);
	truth_fact("sockets", n);
	truth_fact("keys", held_keys);
	truth_fact("map_bytes", held_maps * MAP_BYTES);
	truth_fact("cpu_values", held_cpu_maps * CPU_VALUES);
	truth_fact("file_bytes", lseek(file, 0, SEEK_END));
	truth_fact("huge_bytes", huge_pages * HUGE);
	pause_until_go();
	/* Half of each large page goes first: that splits it. */
	for (size_t i = 0; i < huge_pages; i++)
		madvise(huge + i * HUGE + HUGE / 2, HUGE / 2, MADV_FREE);
	CHECK(!munmap(huge, HUGE_PAGES * HUGE));
	CHECK(!close(file));
	for (size_t i = 0; i < n; i++) {
		CHECK(!close(files[i]) && !close(pipes[i][0]) && !close(pipes[i][1]));
		CHECK(!close(sockets[i]));
	}
	for (size_t i = 0; i < held_maps; i++)
		CHECK(!close(maps[i]));
	for (size_t i = 0; i < held_cpu_maps; i++)
		CHECK(!close(cpu_maps[i]));
	for (size_t i = 0; i < held_keys; i++)
		CHECK(!syscall(SYS_keyctl, KEYCTL_UNLINK, keys[i], KEY_SPEC_PROCESS_KEYRING));
	return finish();
}
