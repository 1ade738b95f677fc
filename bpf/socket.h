/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * socket.h - the kernel's socket table is the truth about TCP.
 *
 * Asked when a TCP packet that opens nothing has no flow. A live socket of this
 * network namespace means the connection exists, so it goes on: no restart, no
 * eviction and no first enforcement can cut it. Covers the host's own, un-NATed
 * TCP; NAT and forwarded traffic live by the flow table.
 */
#ifndef AUTOHEP_SOCKET_H
#define AUTOHEP_SOCKET_H

#include "maps.h"

/* The kernel's TCP states, include/net/tcp_states.h. */
#define SOCKET_SYN_SENT 2
#define SOCKET_TIME_WAIT 6
#define SOCKET_CLOSE 7
#define SOCKET_LISTEN 10
#define SOCKET_NEW_SYN_RECV 12

#define SOCKET_STREAM 1

enum socket_answer {
	SOCKET_UNKNOWN = 0,
	SOCKET_LIVE = 1,    /* and worth a flow entry */
	SOCKET_PASSING = 2, /* live, but embryonic or nearly gone: no entry */
	SOCKET_COOKIE = 3,  /* completes a handshake begun by SYN cookie */
};

/* The tuple is as if the packet came in, whatever its direction. */
static __always_inline __u32 socket_tuple(const struct packet *packet,
					  __u32 direction, bool ipv6,
					  struct bpf_sock_tuple *tuple)
{
	const __be32 *remote = direction == DIR_INGRESS ? packet->source
							: packet->destination;
	const __be32 *local = direction == DIR_INGRESS ? packet->destination
						       : packet->source;
	__be16 remote_port = direction == DIR_INGRESS
				     ? packet->source_port
				     : packet->destination_port;
	__be16 local_port = direction == DIR_INGRESS ? packet->destination_port
						     : packet->source_port;

	if (ipv6) {
		__builtin_memcpy(tuple->ipv6.saddr, remote, 16);
		__builtin_memcpy(tuple->ipv6.daddr, local, 16);
		tuple->ipv6.sport = remote_port;
		tuple->ipv6.dport = local_port;
		return sizeof(tuple->ipv6);
	}
	tuple->ipv4.saddr = remote[0];
	tuple->ipv4.daddr = local[0];
	tuple->ipv4.sport = remote_port;
	tuple->ipv4.dport = local_port;
	return sizeof(tuple->ipv4);
}

/* Linux keeps the answer to a listener's cookie in the ACK number alone. */
static __always_inline bool cookie_is_valid(void *sk, void *data, void *end,
					    const struct packet *packet,
					    bool ipv6)
{
	__u64 l3_at = packet->l3_at, l4_at = packet->l4_at;
	__u32 size = ipv6 ? sizeof(struct ipv6_header)
			  : sizeof(struct ipv4_header);
	void *ip, *tcp;

	if (l3_at > 64 || l4_at > 1024)
		return false;
	ip = data + l3_at;
	tcp = data + l4_at;
	if (!inside(ip, end, 0, size) ||
	    !inside(tcp, end, 0, sizeof(struct tcp_header)))
		return false;
	return bpf_tcp_check_syncookie(sk, ip, size, tcp,
				       sizeof(struct tcp_header)) == 0;
}

/* Asks for a TCP packet other than a pure SYN. */
static __always_inline enum socket_answer
socket_ask(struct __sk_buff *skb, void *data, void *end,
	   const struct packet *packet, __u32 direction, bool ipv6)
{
	enum socket_answer answer = SOCKET_UNKNOWN;
	struct scratch *scratch = scratch_of_cpu();
	__u8 flags = packet->tcp_flags;
	struct bpf_sock *sk;
	__u32 size;

	if (!scratch)
		return SOCKET_UNKNOWN;
	size = socket_tuple(packet, direction, ipv6, &scratch->tuple);
	sk = bpf_skc_lookup_tcp(skb, &scratch->tuple, size, BPF_F_CURRENT_NETNS,
				0);
	if (!sk)
		return SOCKET_UNKNOWN;
	switch (sk->state) {
	case SOCKET_LISTEN:
		if (direction == DIR_EGRESS) {
			/* A SYN cookie leaves no trace but its SYN-ACK. */
			if ((flags & (TCP_SYN | TCP_ACK)) ==
			    (TCP_SYN | TCP_ACK))
				answer = SOCKET_COOKIE;
		} else if ((flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_ACK) {
			if (cookie_is_valid(sk, data, end, packet, ipv6))
				answer = SOCKET_COOKIE;
		}
		break;
	case SOCKET_SYN_SENT: /* proves only that somebody called connect() */
	case SOCKET_CLOSE:
		break;
	case SOCKET_TIME_WAIT:
	case SOCKET_NEW_SYN_RECV:
		answer = SOCKET_PASSING;
		break;
	default:
		answer = SOCKET_LIVE;
	}
	bpf_sk_release(sk);
	return answer;
}

/* An aborted connection's RST leaves when its socket is already unhashed. */
static __always_inline bool socket_aborts(struct __sk_buff *skb,
					  const struct packet *packet)
{
	struct bpf_sock *sk;

	if (!(packet->tcp_flags & TCP_RST))
		return false;
	sk = skb->sk;
	if (!sk)
		return false;
	sk = bpf_sk_fullsock(sk);
	return sk && sk->type == SOCKET_STREAM && sk->protocol == PROTO_TCP &&
	       sk->state == SOCKET_CLOSE &&
	       (__be16)sk->dst_port == packet->destination_port;
}

#endif
