/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * kconfig.h - the first header bcc asks for. Together with its neighbours it
 * stands in for kernel headers, which nodes rarely have: a classifier touches
 * only types that are ABI, so nothing here depends on the running kernel.
 */
#ifndef AUTOHEP_SHIM_KCONFIG_H
#define AUTOHEP_SHIM_KCONFIG_H

#define CONFIG_BPF_SYSCALL 1 /* bcc's helpers.h refuses to go on without it */

#endif
