/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The hash of a stack, made while it is walked. */
#ifndef MEMTOOLS_HASH_H
#define MEMTOOLS_HASH_H

static __always_inline u64 hash_frame(u64 hash, u64 frame)
{
	hash = (hash ^ frame) * 0x9e3779b97f4a7c15ULL;
	return hash ^ (hash >> 29);
}

#endif
