/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sessions: one program for the entry and the return of a function (kprobes 6.12, uprobes 6.13). */
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

/* The word that the kernel keeps from the entry to the return; NULL: there is none. */
extern u64 *bpf_session_cookie___plain(void) __ksym __weak;
extern u64 *bpf_session_cookie___ctx(void *ctx) __ksym __weak;

static __always_inline u64 *session_cookie(void *ctx)
{
#ifndef WITHOUT_SESSION_COOKIE_CTX
	if (bpf_ksym_exists(bpf_session_cookie___ctx))
		return bpf_session_cookie___ctx(ctx);
#endif
#ifndef WITHOUT_SESSION_COOKIE_PLAIN
	if (bpf_ksym_exists(bpf_session_cookie___plain))
		return bpf_session_cookie___plain();
#endif
	return NULL;
}

#endif
