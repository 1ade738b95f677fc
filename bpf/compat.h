/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * compat.h - the only lines that differ between the two compilers.
 *
 * bcc brings its own bpf.h and helper declarations; clang ahead of time takes
 * linux-libc-dev's and libbpf's. Maps are made by the loader in both cases; bcc
 * gets their descriptors as -DMAP_FD_<name>=<fd>, clang describes them in BTF.
 */
#ifndef AUTOHEP_COMPAT_H
#define AUTOHEP_COMPAT_H

#ifdef AUTOHEP_CLANG

#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAP(name) ((void *)&hep_##name)
#define DEFINE_MAP(kind, key_type, value_type, entries, flags, name)           \
	struct {                                                               \
		__uint(type, kind);                                            \
		__uint(max_entries, entries);                                  \
		__uint(map_flags, flags);                                      \
		__type(key, key_type);                                         \
		__type(value, value_type);                                     \
	} hep_##name SEC(".maps")
#define DEFINE_RING(entries, name)                                             \
	struct {                                                               \
		__uint(type, BPF_MAP_TYPE_RINGBUF);                            \
		__uint(max_entries, entries);                                  \
	} hep_##name SEC(".maps")
#define PROGRAM(section) SEC(section)

#else /* bcc */

#define MAP(name) ((void *)bpf_pseudo_fd(1, MAP_FD_##name))
#define DEFINE_MAP(kind, key_type, value_type, entries, flags, name)           \
	struct name##_is_made_by_the_loader
#define DEFINE_RING(entries, name) struct name##_is_made_by_the_loader
#define PROGRAM(section)

#define bpf_ntohs(value) __builtin_bswap16(value)
#define bpf_ntohl(value) __builtin_bswap32(value)
#define bpf_htons(value) __builtin_bswap16(value)
#define bpf_htonl(value) __builtin_bswap32(value)

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

#endif

/* Keeps the compiler from reasoning about a value that the verifier must see
 * bounded by the very instruction that bounds it.
 */
#define opaque(value) asm volatile("" : "+r"(value))

/* What was stored before is read back after, not remembered in registers. */
#define forget() asm volatile("" ::: "memory")

#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

#define SECONDS ((__u32)AUTOHEP_HZ)
#ifndef AUTOHEP_HZ
#define AUTOHEP_HZ 250 /* jiffies a second; the loader measures it */
#endif

#endif
