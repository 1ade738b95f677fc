/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * packet.h - from bytes to a packet: Ethernet, VLAN tags, IPv4, IPv6 and its
 * extension headers, fragments, ports. Works on a [data, end) range, so that tc
 * and XDP share it. Every failure has a reason; nothing is guessed.
 */
#ifndef AUTOHEP_PACKET_H
#define AUTOHEP_PACKET_H

#include "abi.h"
#include "compat.h"

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_QINQ 0x88a8
#define ETHERTYPE_QINQ_OLD 0x9100

#define PROTO_HOPOPTS 0
#define PROTO_ICMP 1
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_ROUTING 43
#define PROTO_FRAGMENT 44
#define PROTO_ICMPV6 58
#define PROTO_DSTOPTS 60
#define PROTO_SCTP 132

#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4
#define TCP_ACK 16

#define FRAGMENT_NONE 0
#define FRAGMENT_FIRST 1
#define FRAGMENT_LATER 2

#define EXTENSIONS_MAX 8

/* An Ethernet header with two VLAN tags. */
#define ETHERNET_MOST 22

struct ipv4_header {
	__u8 version_ihl;
	__u8 tos;
	__be16 length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be32 source;
	__be32 destination;
};

struct ipv6_header {
	__be32 version_class_label;
	__be16 payload;
	__u8 next;
	__u8 hops;
	__be32 source[4];
	__be32 destination[4];
};

struct tcp_header {
	__be16 source;
	__be16 destination;
	__be32 sequence;
	__be32 acknowledgement;
	__u8 data_offset;
	__u8 flags;
	__be16 window;
	__be16 checksum;
	__be16 urgent;
};

struct icmp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be16 id;
	__be16 sequence;
};

/* What the rest of the program knows of a packet. IPv4 addresses stand in the
 * first word; l4 is the index into the image's l4 table.
 */
struct packet {
	__be32 source[4];
	__be32 destination[4];
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 fragment; /* FRAGMENT_* */
	__be32 fragment_id;
	__u32 l4;
	__u32 l3_at; /* bytes from the start of the frame */
	__u32 l4_at;
	__u32 l4_length; /* bytes from l4_at to the end of the IP packet */
};

/* A pure SYN opens a connection; it is always judged by policy. */
static __always_inline bool is_opening(const struct packet *packet)
{
	return packet->protocol == PROTO_TCP &&
	       (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Is [at, at + size) inside the packet? Says it in a way the verifier follows. */
#define inside(data, end, at, size) ((data) + (at) + (size) <= (end))

/* Strips up to two VLAN tags; returns the ethertype, 0 with *reason set. */
static __always_inline __u16 parse_ethernet(void *data, void *end, __u32 *at,
					    enum reason *reason)
{
	__u16 type;

	if (!inside(data, end, 0, 14)) {
		*reason = REASON_SHORT;
		return 0;
	}
	type = bpf_ntohs(*(__be16 *)(data + 12));
	*at = 14;
	if (likely(type == ETHERTYPE_IPV4 || type == ETHERTYPE_IPV6))
		return type;
	for (int tag = 0; tag < 2; tag++) {
		if (type != ETHERTYPE_VLAN && type != ETHERTYPE_QINQ &&
		    type != ETHERTYPE_QINQ_OLD)
			return type;
		if (!inside(data, end, 18 + tag * 4, 0)) {
			*reason = REASON_SHORT;
			return 0;
		}
		type = bpf_ntohs(*(__be16 *)(data + 16 + tag * 4));
		*at = 18 + tag * 4;
	}
	if (type == ETHERTYPE_VLAN || type == ETHERTYPE_QINQ ||
	    type == ETHERTYPE_QINQ_OLD) {
		*reason = REASON_VLAN;
		return 0;
	}
	return type;
}

/* Ports, flags and the l4 index of a packet that is no later fragment. */
static __always_inline enum reason parse_l4(void *data, void *end,
					    struct packet *packet)
{
	__u64 at = packet->l4_at;
	void *header;

	if (at > 1024) /* only IPv6's extension headers reach that far */
		return REASON_EXTENSIONS;
	header = data + at;
	switch (packet->protocol) {
	case PROTO_TCP: {
		struct tcp_header *tcp = header;

		if (packet->l4_length < 20 || !inside(header, end, 0, 20))
			return REASON_SHORT;
		if (tcp->data_offset < 0x50)
			return REASON_MALFORMED;
		packet->source_port = tcp->source;
		packet->destination_port = tcp->destination;
		packet->tcp_flags = tcp->flags;
		packet->l4 = L4_TCP + bpf_ntohs(tcp->destination);
		return REASON_NONE;
	}
	case PROTO_UDP:
	case PROTO_SCTP: {
		__be16 *ports = header;
		__u32 size = packet->protocol == PROTO_UDP ? 8 : 12;

		if (packet->l4_length < size || !inside(header, end, 0, 8))
			return REASON_SHORT;
		packet->source_port = ports[0];
		packet->destination_port = ports[1];
		packet->l4 = bpf_ntohs(ports[1]) +
			     (packet->protocol == PROTO_UDP ? L4_UDP : L4_SCTP);
		return REASON_NONE;
	}
	case PROTO_ICMP:
	case PROTO_ICMPV6: {
		struct icmp_header *icmp = header;

		if (packet->l4_length < 8 || !inside(header, end, 0, 8))
			return REASON_SHORT;
		packet->icmp_type = icmp->type;
		packet->source_port = icmp->id;
		packet->l4 =
			(icmp->type << 8 | icmp->code) +
			(packet->protocol == PROTO_ICMP ? L4_ICMP : L4_ICMPV6);
		return REASON_NONE;
	}
	default:
		packet->l4 = L4_PROTOCOL + packet->protocol;
		return REASON_NONE;
	}
}

static __always_inline enum reason parse_ipv4(void *data, void *end,
					      __u32 frame_length, __u32 l3_at,
					      struct packet *packet)
{
	struct ipv4_header *ip = data + l3_at;
	__u32 header, total, fragment;

	if (!inside((void *)ip, end, 0, sizeof(*ip)))
		return REASON_SHORT;
	header = (ip->version_ihl & 15) * 4;
	total = bpf_ntohs(ip->length);
	/* A length of 0 means a segmented super-packet above 64 KiB. */
	if (total == 0)
		total = frame_length - l3_at;
	if (ip->version_ihl >> 4 != 4 || header < 20 || total < header)
		return REASON_MALFORMED;
	if (l3_at + total > frame_length)
		return REASON_SHORT;
	packet->source[0] = ip->source;
	packet->destination[0] = ip->destination;
	packet->protocol = ip->protocol;
	packet->l3_at = l3_at;
	packet->l4_at = l3_at + header;
	packet->l4_length = total - header;
	fragment = bpf_ntohs(ip->fragment);
	if (unlikely(fragment & 0x3fff)) {
		packet->fragment_id = ip->id;
		if (fragment & 0x1fff) {
			packet->fragment = FRAGMENT_LATER;
			packet->l4 = L4_FRAGMENT + packet->protocol;
			return REASON_NONE;
		}
		packet->fragment = FRAGMENT_FIRST;
	}
	return parse_l4(data, end, packet);
}

/* Walks the extension headers; stops at the first thing that is none, at a later
 * fragment, or after EXTENSIONS_MAX of them. AH counts as a protocol.
 */
static __always_inline enum reason parse_ipv6(void *data, void *end,
					      __u32 frame_length, __u32 l3_at,
					      struct packet *packet)
{
	struct ipv6_header *ip = data + l3_at;
	__u64 at = l3_at + sizeof(*ip);
	__u32 payload, stop;
	__u8 next;

	if (!inside((void *)ip, end, 0, sizeof(*ip)))
		return REASON_SHORT;
	if ((*(__u8 *)ip >> 4) != 6)
		return REASON_MALFORMED;
	payload = bpf_ntohs(ip->payload);
	stop = at + payload;
	if (payload == 0) /* nothing, a jumbogram or a segmented super-packet */
		stop = frame_length;
	if (stop > frame_length)
		return REASON_SHORT;
	packet->l3_at = l3_at;
	__builtin_memcpy(packet->source, ip->source, 16);
	__builtin_memcpy(packet->destination, ip->destination, 16);
	next = ip->next;
	/* Unrolled: kernels before 6.8 refuse a loop that closes by falling through. */
#pragma unroll
	for (int step = 0; step <= EXTENSIONS_MAX; step++) {
		__u8 *header;

		if (next != PROTO_HOPOPTS && next != PROTO_ROUTING &&
		    next != PROTO_DSTOPTS && next != PROTO_FRAGMENT) {
			packet->protocol = next;
			packet->l4_at = at;
			packet->l4_length = stop - at;
			return parse_l4(data, end, packet);
		}
		if (step == EXTENSIONS_MAX || at > 1000)
			return REASON_EXTENSIONS;
		header = data + at;
		if (at + 8 > stop || !inside((void *)header, end, 0, 8))
			return REASON_SHORT;
		if (next == PROTO_FRAGMENT) {
			__u32 fragment = header[2] << 8 | header[3];

			next = header[0];
			at += 8;
			if ((fragment & ~6) == 0)
				continue; /* an atomic fragment is a whole packet */
			__builtin_memcpy(&packet->fragment_id, header + 4, 4);
			if (fragment & ~7) {
				packet->fragment = FRAGMENT_LATER;
				packet->protocol = next;
				packet->l4_at = at;
				packet->l4_length = stop - at;
				packet->l4 = L4_FRAGMENT + next;
				return REASON_NONE;
			}
			packet->fragment = FRAGMENT_FIRST;
		} else {
			next = header[0];
			at += 8 + header[1] * 8;
		}
		if (at > stop)
			return REASON_SHORT;
	}
	return REASON_EXTENSIONS;
}

#endif
