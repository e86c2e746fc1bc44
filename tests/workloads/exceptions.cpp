// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Exceptions, and leaks through every form of operator new.
 *
 *	exceptions N		leaks, and throws N exceptions through functions that hold memory,
 *				every hundredth of them the bad_alloc of a new that fails
 *	exceptions nothrow N	N nothrow news fail: libstdc++ catches a bad_alloc in each
 */

#include <cstdint>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "protocol.h"

namespace
{

struct alignas(128) Wide {
	char bytes[256];
};

constexpr size_t HUGE_SIZE = PTRDIFF_MAX;
size_t allocs;
size_t frees;
size_t failed;

} // namespace

NOINLINE void leak_new()
{
	for (int i = 0; i < 30; i++)
		keep(new char);
	allocs += 30;
	truth("leak_new", 30, 30);
}

NOINLINE void leak_new_array()
{
	for (int i = 0; i < 20; i++)
		keep(new char[123]);
	allocs += 20;
	truth("leak_new_array", 20 * 123, 20);
}

NOINLINE void leak_new_aligned()
{
	for (int i = 0; i < 10; i++)
		keep(new Wide);
	allocs += 10;
	truth("leak_new_aligned", 10 * sizeof(Wide), 10);
}

NOINLINE void leak_new_nothrow()
{
	for (int i = 0; i < 15; i++)
		keep(new (std::nothrow) char[77]);
	allocs += 15;
	truth("leak_new_nothrow", 15 * 77, 15);
}

NOINLINE void leak_vector()
{
	for (int i = 0; i < 4; i++) {
		auto *kept = new std::vector<uint32_t>;

		kept->reserve(1000);
		keep(kept);
	}
	allocs += 8;
	truth("leak_vector", 4 * (sizeof(std::vector<uint32_t>) + 4000), 8);
}

// A node of the tree: colour, three links, and the pair.
NOINLINE void leak_map()
{
	auto *kept = new std::map<uint64_t, uint64_t>;

	for (uint64_t i = 0; i < 100; i++)
		(*kept)[i] = i;
	keep(kept);
	allocs += 101;
	truth("leak_map", sizeof(*kept) + 100 * (4 * sizeof(void *) + 16), 101);
}

// The characters are allocated inside libstdc++, in a function that has other uses for rbp.
NOINLINE void leak_string()
{
	for (int i = 0; i < 6; i++)
		keep(new std::string(hidden(1000), 'x'));
	allocs += 12;
	truth("leak_string", 6 * sizeof(std::string), 6);
	truth_fact("string_characters", 6 * 1001);
}

NOINLINE void borrow_by_new()
{
	for (int i = 0; i < 50; i++) {
		delete static_cast<char *>(keep(new char));
		delete[] static_cast<char *>(keep(new char[100]));
		delete static_cast<Wide *>(keep(new Wide));
	}
	allocs += 150;
	frees += 150;
	truth("borrow_by_new", 0, 0);
}

NOINLINE void fail_nothrow(int count)
{
	for (int i = 0; i < count; i++)
		CHECK(!keep(new (std::nothrow) char[hidden(HUGE_SIZE)]));
	failed += count;
}

NOINLINE void throw_number(int number)
{
	throw number;
}

NOINLINE void throw_bad_alloc()
{
	keep(operator new(hidden(HUGE_SIZE)));
}

// Holds memory while an exception passes: the unwinder frees it.
NOINLINE void hold_and_throw(int depth, int number)
{
	std::unique_ptr<char[]> held(static_cast<char *>(keep(new char[64])));

	if (depth > 0)
		hold_and_throw(depth - 1, number);
	else if (number % 100 == 0)
		throw_bad_alloc();
	else
		throw_number(number);
}

// Three blocks are held on the way, and the exception is a block of its own.
NOINLINE void throw_and_catch(int count)
{
	int numbers = 0, refusals = 0;

	for (int i = 0; i < count; i++) {
		try {
			hold_and_throw(2, i);
		} catch (int number) {
			CHECK(number == i);
			numbers++;
		} catch (const std::bad_alloc &) {
			refusals++;
		}
	}
	CHECK(numbers + refusals == count && refusals == (count + 99) / 100);
	allocs += 4 * static_cast<size_t>(count);
	frees += 4 * static_cast<size_t>(count);
	failed += refusals;
	truth("hold_and_throw", 0, 0);
}

static void allocate_and_throw(int count)
{
	leak_new();
	leak_new_array();
	leak_new_aligned();
	leak_new_nothrow();
	leak_vector();
	leak_map();
	leak_string();
	borrow_by_new();
	throw_and_catch(count);
	truth_events(allocs, frees);
}

int main(int argc, char **argv)
{
	bool nothrow = argc == 3 && strcmp(argv[1], "nothrow") == 0;

	CHECK(argc == 2 || nothrow);
	ready();
	if (nothrow)
		fail_nothrow(atoi(argv[2]));
	else
		allocate_and_throw(atoi(argv[1]));
	truth_fact("failed", failed);
	return finish();
}
