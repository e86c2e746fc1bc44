/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A program that would like to write on somebody's terminal: escape sequences in its name and in
 * that of a function, which the build writes over the two Qs, and the test adds one in the name of
 * its file.
 */
#include <sys/prctl.h>

#include "protocol.h"

NOINLINE void leak_QQ31mevil(void)
{
	for (int i = 0; i < 4; i++)
		CHECK(keep(malloc(444)));
	truth_fact("escaped_bytes", 4 * 444);
}

int main(void)
{
	CHECK(prctl(PR_SET_NAME, "\033[31mevil\n\a") == 0);
	ready();
	leak_QQ31mevil();
	return finish();
}
