/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf.h - bcc brings its own, which it has included by now. */
