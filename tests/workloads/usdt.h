/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * USDT probes of up to three words: a no-op in the code, and a note that says where the arguments
 * are. The notes' form is SystemTap's, version 3.
 */
#ifndef WORKLOADS_USDT_H
#define WORKLOADS_USDT_H

#define USDT_NOTE(provider, name, semaphore, arguments)                                            \
	"990: nop\n"                                                                               \
	".pushsection .note.stapsdt,\"?\",\"note\"\n"                                              \
	".balign 4\n"                                                                              \
	".4byte 8, 994f-993f, 3\n"                                                                 \
	".asciz \"stapsdt\"\n"                                                                     \
	"993: .8byte 990b\n"                                                                       \
	".8byte _.stapsdt.base\n"                                                                  \
	".8byte " semaphore "\n"                                                                   \
	".asciz \"" provider "\"\n"                                                                \
	".asciz \"" name "\"\n"                                                                    \
	".asciz \"" arguments "\"\n"                                                               \
	"994: .balign 4\n"                                                                         \
	".popsection\n"                                                                            \
	".ifndef _.stapsdt.base\n"                                                                 \
	".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"                    \
	".weak _.stapsdt.base\n"                                                                   \
	".hidden _.stapsdt.base\n"                                                                 \
	"_.stapsdt.base: .space 1\n"                                                               \
	".size _.stapsdt.base,1\n"                                                                 \
	".popsection\n"                                                                            \
	".endif\n"

/* How many listen. */
#define USDT_SEMAPHORE(symbol)                                                                     \
	volatile unsigned short symbol                                                             \
		__attribute__((section(".probes"), visibility("hidden"), used)) = 0

#define USDT1(provider, name, semaphore, a)                                                        \
	__asm__ volatile(USDT_NOTE(provider, name, semaphore, "8@%[one]") : : [one] "nor"(a))

#define USDT3(provider, name, semaphore, a, b, c)                                                  \
	__asm__ volatile(USDT_NOTE(provider, name, semaphore, "8@%[one] 8@%[two] 8@%[three]")      \
			 :                                                                         \
			 : [one] "nor"(a), [two] "nor"(b), [three] "nor"(c))

#endif
