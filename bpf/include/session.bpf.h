/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Uprobe sessions: one program for the entry and the return of a function (6.13). */
#ifndef MEMTOOLS_SESSION_BPF_H
#define MEMTOOLS_SESSION_BPF_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>

extern bool bpf_session_is_return___plain(void) __ksym __weak;
extern bool bpf_session_is_return___ctx(void *ctx) __ksym __weak;

static __always_inline bool is_session_return(void *ctx)
{
#ifndef WITHOUT_SESSION_IS_RETURN_CTX
	if (bpf_ksym_exists(bpf_session_is_return___ctx))
		return bpf_session_is_return___ctx(ctx);
#endif
#ifndef WITHOUT_SESSION_IS_RETURN_PLAIN
	if (bpf_ksym_exists(bpf_session_is_return___plain))
		return bpf_session_is_return___plain();
#endif
	return false;
}

#endif
