/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A program without libc, hence without an allocator: says "ready" and waits for the end of its
 * standard input. Also built for 32 bits. It prints no PID, its test knows that.
 */
#if defined(__i386__)
#define SYS_READ  3
#define SYS_WRITE 4
#define SYS_EXIT  1

static long call(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(a), "c"(b), "d"(c)
			 : "memory");
	return result;
}
#elif defined(__x86_64__)
#define SYS_READ  0
#define SYS_WRITE 1
#define SYS_EXIT  60

static long call(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return result;
}
#else
#error "no system call for this machine"
#endif

void _start(void);

void _start(void)
{
	static const char ready[] = "ready 0\n";
	static char line[64];

	call(SYS_WRITE, 1, (long)ready, sizeof(ready) - 1);
	while (call(SYS_READ, 0, (long)line, sizeof(line)) > 0)
		;
	call(SYS_EXIT, 0, 0, 0);
}
