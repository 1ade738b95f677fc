/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * fragments.h - later fragments follow their first.
 *
 * An entry lost or not yet made is harmless: a datagram is only complete with its
 * first fragment, and that one is always judged in full.
 */
#ifndef AUTOHEP_FRAGMENTS_H
#define AUTOHEP_FRAGMENTS_H

#include "flow.h"

static __always_inline void fragment_key_of(const struct packet *packet,
					    __u32 ifindex, __u32 direction,
					    bool ipv6, struct fragment_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	__builtin_memcpy(key->source, packet->source, 16);
	__builtin_memcpy(key->destination, packet->destination, 16);
	/* An IPv6 later fragment may carry another next header than the first. */
	key->protocol = ipv6 ? 0 : packet->protocol;
	key->id = packet->fragment_id;
	key->ifindex = ifindex;
	key->direction = direction;
	key->version = ipv6 ? 6 : 4;
}

static __always_inline void fragment_remember(const struct packet *packet,
					      __u32 ifindex, __u32 direction,
					      bool ipv6, __u32 action)
{
	struct fragment entry = { .last = now_jiffies(), .action = action };
	struct scratch *scratch = scratch_of_cpu();

	if (!scratch)
		return;
	fragment_key_of(packet, ifindex, direction, ipv6, &scratch->fragment);
	bpf_map_update_elem(MAP(fragments), &scratch->fragment, &entry, 0);
}

/* What was said of the first fragment; ACTION_NONE: not known. */
static __always_inline __u32 fragment_recall(const struct packet *packet,
					     __u32 ifindex, __u32 direction,
					     bool ipv6)
{
	struct scratch *scratch = scratch_of_cpu();
	struct fragment *entry;

	if (!scratch)
		return ACTION_NONE;
	fragment_key_of(packet, ifindex, direction, ipv6, &scratch->fragment);
	entry = bpf_map_lookup_elem(MAP(fragments), &scratch->fragment);
	if (!entry || (__s32)(now_jiffies() - entry->last) >
			      (__s32)(IDLE_FRAGMENT * SECONDS))
		return ACTION_NONE;
	return entry->action;
}

#endif
