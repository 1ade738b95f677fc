/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* if_packet.h - bcc includes it and uses nothing of it. */
