/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * related.h - ICMP errors about a flow that was allowed.
 *
 * The error carries the head of the packet it is about. Seen from this host that
 * packet went the other way, so it is parsed and looked up as one that did.
 */
#ifndef AUTOHEP_RELATED_H
#define AUTOHEP_RELATED_H

#include "flow.h"
#include "socket.h"

static __always_inline bool is_icmp_error(const struct packet *packet)
{
	if (packet->protocol == PROTO_ICMP)
		return packet->icmp_type == 3 || packet->icmp_type == 11 ||
		       packet->icmp_type == 12;
	if (packet->protocol == PROTO_ICMPV6)
		return packet->icmp_type >= 1 && packet->icmp_type <= 4;
	return false;
}

/* Reads the inner header; only its first eight bytes after IP are there. */
static __always_inline bool parse_inner(void *data, void *end,
					const struct packet *outer, bool ipv6,
					struct packet *inner)
{
	__u64 at = outer->l4_at + 8;
	__be16 *ports;

	if (at > 1024)
		return false;
	if (ipv6) {
		struct ipv6_header *ip = data + at;

		if (!inside((void *)ip, end, 0, sizeof(*ip) + 8))
			return false;
		__builtin_memcpy(inner->source, ip->source, 16);
		__builtin_memcpy(inner->destination, ip->destination, 16);
		inner->protocol = ip->next;
		ports = (void *)ip + sizeof(*ip);
	} else {
		struct ipv4_header *ip = data + at;
		__u64 header;

		if (!inside((void *)ip, end, 0, sizeof(*ip)))
			return false;
		header = (ip->version_ihl & 15) * 4;
		if (header < 20 || bpf_ntohs(ip->fragment) & 0x1fff)
			return false;
		inner->source[0] = ip->source;
		inner->destination[0] = ip->destination;
		inner->protocol = ip->protocol;
		ports = (void *)ip + header;
		if (!inside((void *)ports, end, 0, 8))
			return false;
	}
	switch (inner->protocol) {
	case PROTO_TCP:
	case PROTO_UDP:
	case PROTO_SCTP:
		inner->source_port = ports[0];
		inner->destination_port = ports[1];
		return true;
	case PROTO_ICMP:
	case PROTO_ICMPV6:
		inner->icmp_type = *(__u8 *)ports;
		inner->source_port = ports[2];
		return true;
	default:
		return true;
	}
}

/* The error goes to whoever sent the packet that it is about, also where NAT
 * changes both: at one hook the two addresses are the same.
 */
static __always_inline bool goes_to_sender(const struct packet *outer,
					   const struct packet *inner)
{
	__u32 differ = 0;

	/* IPv4 has the first word, the others are 0 in both. */
	for (int word = 0; word < 4; word++)
		differ |= outer->destination[word] ^ inner->source[word];
	return !differ;
}

/* Is the error about an approved flow, or a TCP connection the kernel has? *key
 * is the caller's, which has no use for it: errors have no flow of their own.
 */
static __always_inline bool is_related(struct __sk_buff *skb, void *data,
				       void *end, const struct packet *packet,
				       __u32 direction, bool ipv6,
				       union flow_key *key)
{
	__u32 back = direction == DIR_INGRESS ? DIR_EGRESS : DIR_INGRESS;
	struct scratch *scratch = scratch_of_cpu();
	struct packet *inner;
	struct flow *flow;

	if (!scratch)
		return false;
	inner = &scratch->inner;
	__builtin_memset(inner, 0, sizeof(*inner));
	if (!parse_inner(data, end, packet, ipv6, inner) ||
	    !goes_to_sender(packet, inner) || !flow_key(inner, back, ipv6, key))
		return false;
	flow = flow_find(key, ipv6);
	if (flow && flow_fresh(flow, inner->protocol, now_jiffies()))
		return true;
	if (inner->protocol != PROTO_TCP)
		return false;
	/* The inner segment's flags are cut off: any live state will do. */
	return socket_ask(skb, data, end, inner, back, ipv6) != SOCKET_UNKNOWN;
}

#endif
