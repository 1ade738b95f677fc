/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* log2.h - bcc includes it and uses nothing of it. */
