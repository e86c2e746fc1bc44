/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Leaks, and frees, by every function that C and C++ have for it: what one allocator does by
 * calling another of its functions, the next one does by itself.
 */
#include <new>

#include "protocol.h"

#define LEAKED	40
#define FREED	300
#define REFUSED 20

struct alignas(128) Wide {
	char bytes[256];
};

/* What a compiler could leave out is hidden from it. */
template <typename T> static T *kept(T *block)
{
	CHECK(block);
	return static_cast<T *>(keep(block));
}

NOINLINE void leak_malloc()
{
	for (int i = 0; i < LEAKED; i++)
		kept(malloc(hidden(24)));
}

NOINLINE void leak_calloc()
{
	for (int i = 0; i < LEAKED; i++)
		kept(calloc(hidden(4), 25));
}

NOINLINE void leak_realloc()
{
	for (int i = 0; i < LEAKED; i++)
		kept(realloc(kept(malloc(hidden(50))), hidden(5000)));
}

NOINLINE void leak_aligned()
{
	void *block;

	for (int i = 0; i < LEAKED; i++) {
		kept(aligned_alloc(64, hidden(640)));
		CHECK(!posix_memalign(&block, 256, hidden(512)));
		kept(block);
	}
}

NOINLINE void leak_new()
{
	for (int i = 0; i < LEAKED; i++)
		kept(static_cast<char *>(operator new(hidden(72))));
}

NOINLINE void leak_new_array()
{
	for (int i = 0; i < LEAKED; i++)
		kept(new char[hidden(1000)]);
}

NOINLINE void leak_new_nothrow()
{
	for (int i = 0; i < LEAKED; i++)
		kept(new (std::nothrow) char[hidden(48)]);
}

NOINLINE void leak_new_aligned()
{
	for (int i = 0; i < LEAKED; i++)
		kept(new Wide);
}

/* A large one goes another way in every allocator. */
NOINLINE void leak_new_large()
{
	for (int i = 0; i < 3; i++)
		kept(new char[hidden(3 << 20)]);
}

NOINLINE void free_all()
{
	for (int i = 0; i < FREED; i++) {
		size_t size = 8 + i * 37 % 3000;

		free(kept(malloc(hidden(size))));
		operator delete(kept(operator new(hidden(size))));
		operator delete(kept(operator new(hidden(size))), size);
		delete[] kept(new char[hidden(size)]);
		delete kept(new Wide);
		operator delete(kept(operator new(hidden(size), std::nothrow)), std::nothrow);
	}
}

NOINLINE void fail_to_allocate()
{
	for (int i = 0; i < REFUSED; i++) {
		try {
			kept(static_cast<char *>(operator new(hidden(~(size_t)0 >> 2))));
			fail("there is no such block");
		} catch (const std::bad_alloc &) {
		}
	}
}

/* allocators [refuse]: also asks for more than there is, where that is answered by an exception. */
int main(int argc, char **)
{
	ready();
	leak_malloc();
	if (argc > 1)
		fail_to_allocate();
	leak_calloc();
	leak_realloc();
	leak_aligned();
	leak_new();
	leak_new_array();
	free_all();
	leak_new_nothrow();
	leak_new_aligned();
	leak_new_large();
	truth("leak_malloc", LEAKED * 24, LEAKED);
	truth("leak_calloc", LEAKED * 100, LEAKED);
	truth("leak_realloc", LEAKED * 5000, LEAKED);
	truth("leak_aligned", LEAKED * (640 + 512), 2 * LEAKED);
	truth("leak_new", LEAKED * 72, LEAKED);
	truth("leak_new_array", LEAKED * 1000, LEAKED);
	truth("leak_new_nothrow", LEAKED * 48, LEAKED);
	truth("leak_new_aligned", LEAKED * sizeof(Wide), LEAKED);
	truth("leak_new_large", 3 * (3 << 20), 3);
	truth("free_all", 0, 0);
	truth_fact("refused", argc > 1 ? REFUSED : 0);
	return finish();
}
