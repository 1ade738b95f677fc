/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * failsafe.h - the ports that keep a node reachable, whatever policy says.
 */
#ifndef AUTOHEP_FAILSAFE_H
#define AUTOHEP_FAILSAFE_H

#include "maps.h"
#include "packet.h"

/* Is `port` open to `peer` by failsafe list `list` (0 inbound, 1 outbound)? */
static __always_inline bool failsafe_has(struct scratch *scratch, __u32 list,
					 __u8 protocol, __be16 port,
					 const __be32 *peer, bool ipv6)
{
	const struct failsafe_ports *ports;
	struct failsafe_key *key;
	__u32 zero = 0, index, number = bpf_ntohs(port);
	__u64 at;

	switch (protocol) {
	case PROTO_TCP:
		index = FAILSAFE_TCP;
		break;
	case PROTO_UDP:
		index = FAILSAFE_UDP;
		break;
	case PROTO_SCTP:
		index = FAILSAFE_SCTP;
		break;
	default:
		return false;
	}
	index += list * FAILSAFE_OUTBOUND;
	ports = bpf_map_lookup_elem(MAP(failsafe), &zero);
	if (!ports)
		return false;
	at = index * 8192 + (number >> 3);
	/* Kernels before 6.8 do not know that a swapped port has 16 bits. */
	opaque(at);
	at &= 0xffff;
	if (at >= sizeof(ports->any))
		return false;
	if (((const __u8 *)ports->any)[at] >> (number & 7) & 1)
		return true;
	if (likely(!(((const __u8 *)ports->limited)[at] >> (number & 7) & 1)))
		return false;
	key = &scratch->failsafe;
	key->prefixlen = FAILSAFE_FIXED_BITS + (ipv6 ? 128 : 32);
	key->port = port;
	key->index = index;
	key->version = ipv6 ? 6 : 4;
	__builtin_memcpy(key->address, peer, 16);
	return bpf_map_lookup_elem(MAP(failsafe_nets), key);
}

/* In the direction of the connection: inbound by destination port at ingress,
 * outbound by destination port at egress.
 */
static __always_inline bool failsafe_opens(struct scratch *scratch,
					   const struct packet *packet,
					   __u32 direction, bool ipv6)
{
	const __be32 *peer = direction == DIR_INGRESS ? packet->source
						      : packet->destination;

	if (packet->fragment == FRAGMENT_LATER)
		return false;
	return failsafe_has(scratch, direction, packet->protocol,
			    packet->destination_port, peer, ipv6);
}

/* Replies of failsafe connections, by source port: kept out of doNotTrack. */
static __always_inline bool failsafe_answers(struct scratch *scratch,
					     const struct packet *packet,
					     __u32 direction, bool ipv6)
{
	const __be32 *peer = direction == DIR_INGRESS ? packet->source
						      : packet->destination;

	if (packet->fragment == FRAGMENT_LATER)
		return false;
	return failsafe_has(scratch, !direction, packet->protocol,
			    packet->source_port, peer, ipv6);
}

#endif
