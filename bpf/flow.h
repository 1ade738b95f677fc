/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * flow.h - the flow table: what was allowed goes on without asking again.
 *
 * Entries are made for allowed packets only and changed through the pointer. A
 * flow remembers which endpoint approved its opener's side: the opener's packets
 * pass at endpoints that approved them, replies pass everywhere.
 */
#ifndef AUTOHEP_FLOW_H
#define AUTOHEP_FLOW_H

#include "maps.h"
#include "packet.h"

static __always_inline __u32 now_jiffies(void)
{
	return (__u32)bpf_jiffies64();
}

/* ICMP requests that have a reply, by type; the reply's type maps to it too.
 * Returns 0 if the type belongs to no such pair, else the request's type, with
 * *reply telling which of the two this packet is.
 */
static __always_inline __u8 icmp_request(const struct packet *packet,
					 bool *reply)
{
	__u8 type = packet->icmp_type;

	if (packet->protocol == PROTO_ICMPV6) {
		*reply = type == 129;
		return type == 128 || type == 129 ? 128 : 0;
	}
	switch (type) {
	case 0: /* echo reply */
		*reply = true;
		return 8;
	case 14: /* timestamp, information and address mask replies */
	case 16:
	case 18:
		*reply = true;
		return type - 1;
	case 8:
	case 13:
	case 15:
	case 17:
		*reply = false;
		return type;
	default:
		return 0;
	}
}

/* Has the packet a place in the flow table at all? Fills the key's ports. */
static __always_inline bool flow_ports(const struct packet *packet,
				       __u32 direction, __be16 *local_port,
				       __be16 *remote_port, __u8 *pad)
{
	bool reply = false;
	__u8 request;

	*pad = 0;
	if (packet->protocol == PROTO_ICMP ||
	    packet->protocol == PROTO_ICMPV6) {
		request = icmp_request(packet, &reply);
		*local_port = packet->source_port;
		*remote_port = request;
		*pad = 1 + (reply ? !direction : direction);
		return request;
	}
	if (direction == DIR_INGRESS) {
		*local_port = packet->destination_port;
		*remote_port = packet->source_port;
	} else {
		*local_port = packet->source_port;
		*remote_port = packet->destination_port;
	}
	return true;
}

union flow_key {
	struct flow4_key v4;
	struct flow6_key v6;
};

static __always_inline bool flow_key(const struct packet *packet,
				     __u32 direction, bool ipv6,
				     union flow_key *key)
{
	const __be32 *local = direction == DIR_INGRESS ? packet->destination
						       : packet->source;
	const __be32 *remote = direction == DIR_INGRESS ? packet->source
							: packet->destination;

	if (packet->fragment == FRAGMENT_LATER)
		return false;
	if (ipv6) {
		__builtin_memcpy(key->v6.local, local, 16);
		__builtin_memcpy(key->v6.remote, remote, 16);
		key->v6.protocol = packet->protocol;
		key->v6.pad[1] = 0;
		key->v6.pad[2] = 0;
		return flow_ports(packet, direction, &key->v6.local_port,
				  &key->v6.remote_port, &key->v6.pad[0]);
	}
	key->v4.local = local[0];
	key->v4.remote = remote[0];
	key->v4.protocol = packet->protocol;
	key->v4.pad[1] = 0;
	key->v4.pad[2] = 0;
	return flow_ports(packet, direction, &key->v4.local_port,
			  &key->v4.remote_port, &key->v4.pad[0]);
}

/* One call each: merged into one with a map to be chosen at run time, the kernel
 * could not put the look-up in line (20 ns a packet).
 */
static __always_inline struct flow *flow_find(const union flow_key *key,
					      bool ipv6)
{
	struct flow *flow;

	if (ipv6) {
		flow = bpf_map_lookup_elem(MAP(flows6), &key->v6);
		asm volatile("" : "+r"(flow)::"memory");
		return flow;
	}
	flow = bpf_map_lookup_elem(MAP(flows4), &key->v4);
	return flow;
}

/* Idle time in jiffies after which a flow counts no more. */
static __always_inline __u32 flow_limit(const struct flow *flow, __u8 protocol)
{
	__u32 state = flow->state;

	switch (protocol) {
	case PROTO_TCP:
		if (state & FLOW_RST ||
		    (state & (FLOW_FIN_OPENER | FLOW_FIN_REPLIER)) ==
			    (FLOW_FIN_OPENER | FLOW_FIN_REPLIER))
			return IDLE_TCP_CLOSING * SECONDS;
		return (state & FLOW_REPLIED ? IDLE_TCP : IDLE_TCP_HANDSHAKE) *
		       SECONDS;
	case PROTO_UDP:
		return (state & FLOW_REPLIED ? IDLE_UDP_REPLIED : IDLE_UDP) *
		       SECONDS;
	case PROTO_ICMP:
	case PROTO_ICMPV6:
		return IDLE_ICMP * SECONDS;
	default:
		return IDLE_OTHER * SECONDS;
	}
}

static __always_inline bool flow_fresh(const struct flow *flow, __u8 protocol,
				       __u32 now)
{
	/* Another CPU may have written a later time meanwhile: that is fresh. */
	return (__s32)(now - flow->last) <= (__s32)flow_limit(flow, protocol);
}

/* May this packet pass by the flow at the endpoint? */
static __always_inline bool flow_allows(const struct flow *flow, __u8 protocol,
					__u32 direction, __u32 endpoint,
					__u32 now)
{
	if (!flow_fresh(flow, protocol, now))
		return false;
	return flow->opener != direction ||
	       flow->approved >> (endpoint & 63) & 1;
}

static __always_inline void flow_update(struct flow *flow,
					const struct packet *packet,
					__u32 direction, __u32 length,
					__u32 now)
{
	__u16 state = flow->state;

	if (flow->last != now)
		flow->last = now;
	__sync_fetch_and_add(&flow->packets, 1);
	__sync_fetch_and_add(&flow->bytes, length);
	if (flow->opener != direction)
		state |= FLOW_REPLIED;
	if (unlikely(packet->tcp_flags & (TCP_FIN | TCP_RST))) {
		if (packet->tcp_flags & TCP_RST)
			state |= FLOW_RST;
		else
			state |= flow->opener == direction ? FLOW_FIN_OPENER
							   : FLOW_FIN_REPLIER;
	}
	if (state != flow->state)
		flow->state = state;
}

/* What an allowed opener leaves behind. */
struct approval {
	__u32 endpoint;
	__u32 generation;
	__u32 rule;
	__u8 origin; /* enum flow_origin */
	__u8 state;  /* FLOW_REPLIED if the peer is known to have answered */
};

/* Makes or renews the flow of an allowed packet. A full table evicts its least
 * recently used entry; if even that fails the packet still passes.
 */
static __always_inline void
flow_approve(struct scratch *scratch, const union flow_key *key, bool ipv6,
	     const struct packet *packet, __u32 direction, __u32 length,
	     __u32 now, const struct approval *approval)
{
	struct flow *flow = flow_find(key, ipv6);

	if (flow && flow->opener == direction &&
	    flow_fresh(flow, packet->protocol, now)) {
		flow->approved |= 1ULL << (approval->endpoint & 63);
		flow->rule = approval->rule;
		flow->generation = approval->generation;
		flow->origin = approval->origin;
		if (packet->tcp_flags & TCP_SYN)
			flow->state &= ~(FLOW_RST | FLOW_FIN_OPENER |
					 FLOW_FIN_REPLIER);
		flow_update(flow, packet, direction, length, now);
	} else {
		struct flow *fresh = &scratch->fresh;

		fresh->approved = 1ULL << (approval->endpoint & 63);
		fresh->packets = 1;
		fresh->bytes = length;
		fresh->last = now;
		fresh->created = now;
		fresh->rule = approval->rule;
		fresh->generation = approval->generation;
		fresh->opener = direction;
		fresh->origin = approval->origin;
		fresh->state = approval->state;
		if (ipv6)
			bpf_map_update_elem(MAP(flows6), &key->v6, fresh, 0);
		else
			bpf_map_update_elem(MAP(flows4), &key->v4, fresh, 0);
	}
}

#endif
