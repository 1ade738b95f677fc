/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* version.h - bcc wants a version; classifiers are loaded without one. */
#ifndef AUTOHEP_SHIM_VERSION_H
#define AUTOHEP_SHIM_VERSION_H

#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 15, 0)

#endif
