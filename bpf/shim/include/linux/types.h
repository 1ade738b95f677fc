/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* types.h - fixed-width integers under the names that bpf.h and bcc use. */
#ifndef AUTOHEP_SHIM_TYPES_H
#define AUTOHEP_SHIM_TYPES_H

#define NULL ((void *)0)

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;

typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u16 __le16;
typedef __u32 __le32;
typedef __u64 __le64;
typedef __u16 __sum16;
typedef __u32 __wsum;

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;

typedef _Bool bool;
#define true 1
#define false 0
typedef __SIZE_TYPE__ size_t;
typedef __UINTPTR_TYPE__ uintptr_t;
typedef int pid_t;

#define __aligned_u64 __u64 __attribute__((aligned(8)))

#endif
