/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The suite's histogram: log-linear, of nanoseconds. Each power of two from 32 on is divided into
 * 32 slots, so that the middle of a slot is at most 1/64 off; below 32 ns each nanosecond has its
 * own.
 */
#ifndef MEMTOOLS_HISTOGRAM_H
#define MEMTOOLS_HISTOGRAM_H

#define HISTOGRAM_FRACTION_BITS 5
#define HISTOGRAM_FRACTIONS	(1 << HISTOGRAM_FRACTION_BITS)
/* Up to 2^48 ns, more than three days; longer ones are in the last slot. */
#define HISTOGRAM_BITS	48
#define HISTOGRAM_SLOTS ((HISTOGRAM_BITS - HISTOGRAM_FRACTION_BITS + 1) * HISTOGRAM_FRACTIONS)

static __always_inline u32 log2_of(u64 value)
{
	u32 log = 0;

	if (value >> 32) {
		log += 32;
		value >>= 32;
	}
	if (value >> 16) {
		log += 16;
		value >>= 16;
	}
	if (value >> 8) {
		log += 8;
		value >>= 8;
	}
	if (value >> 4) {
		log += 4;
		value >>= 4;
	}
	if (value >> 2) {
		log += 2;
		value >>= 2;
	}
	return log + (value >> 1);
}

static __always_inline u32 histogram_slot(u64 ns)
{
	u32 shift;

	if (ns < HISTOGRAM_FRACTIONS)
		return ns;
	if (ns >> HISTOGRAM_BITS)
		return HISTOGRAM_SLOTS - 1;
	shift = log2_of(ns) - HISTOGRAM_FRACTION_BITS;
	return shift * HISTOGRAM_FRACTIONS + (u32)(ns >> shift);
}

#endif
