/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* page.h - bcc sizes ring buffers in pages; ours are made by the loader. */
#ifndef AUTOHEP_SHIM_PAGE_H
#define AUTOHEP_SHIM_PAGE_H

#define PAGE_SIZE 4096

#endif
