/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Says "ready", then "interrupted" for each SIGINT that it gets; ends with 5 at the line "end", and
 * with 6 when nobody is left to send it. A shell's trap would not do: a signal that comes just
 * before its read waits as long as the read does.
 */
#include <signal.h>

#include "protocol.h"

static void on_interrupt(int signal)
{
	static const char line[] = "interrupted\n";

	(void)signal;
	if (write(STDOUT_FILENO, line, sizeof(line) - 1) < 0)
		_exit(70);
}

int main(void)
{
	struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART};
	char line[32];

	CHECK(!sigaction(SIGINT, &action, NULL));
	say("ready");
	while (read_line(line, sizeof(line)))
		if (strcmp(line, "end") == 0)
			return 5;
	return 6;
}
