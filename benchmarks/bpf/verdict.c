/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * verdict.c - the firewall beside programs that do only a part of its work, so
 * that ratios can be taken in one run. The *_varied ones draw the packet's source
 * address (10.a.b.c of one of NODES nodes) and destination port anew each time.
 */
#include "../../bpf/firewall.c"

#ifndef NODES
#define NODES 1000
#endif

static __always_inline void vary(struct __sk_buff *skb)
{
	__u32 draw = bpf_get_prandom_u32();
	__u32 node = draw % NODES;
	__be32 source = bpf_htonl(0x0a000000 + node / 200 * 256 + node % 200 + 10);
	__be16 port = bpf_htons(draw >> 16);

	bpf_skb_store_bytes(skb, 26, &source, 4, 0);
	bpf_skb_store_bytes(skb, 36, &port, 2, 0);
}

/* Only parses: Ethernet, IP, TCP ports. Returns something of what it read. */
static __always_inline int parse_only(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct ipv4_header *ip = data + 14;
	struct tcp_header *tcp = data + 34;

	if (data + 54 > end || *(__be16 *)(data + 12) != bpf_htons(0x0800))
		return VERDICT_DROP;
	if (ip->version_ihl != 0x45 || ip->protocol != PROTO_TCP)
		return VERDICT_DROP;
	if (tcp->destination == 0 && ip->source == 0)
		return VERDICT_DROP;
	return VERDICT_PASS;
}

/* Parses as the firewall does, classifies and looks the verdict up; no state. */
static __always_inline int verdict_only(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct scratch *scratch = scratch_of_cpu();
	struct outcome outcome;
	struct classes classes;
	enum reason reason = REASON_NONE;
	__u32 zero = 0, l3_at = 0, generation;
	const __u32 *control = bpf_map_lookup_elem(MAP(control), &zero);
	const void *image;

	if (!scratch || !control)
		return VERDICT_DROP;
	if (parse_ethernet(data, end, &l3_at, &reason) != ETHERTYPE_IPV4)
		return VERDICT_DROP;
	if (parse_ipv4(data, end, skb->len, 14, &scratch->packet))
		return VERDICT_DROP;
	forget();
	generation = *(const volatile __u32 *)control;
	image = image_of(generation & 1);
	if (!image)
		return VERDICT_DROP;
	classify(image, &scratch->packet, false, &classes);
	outcome = look_up(image, table_of(image, 0, TABLE_LOCAL_INGRESS), &classes);
	return outcome.action == ACTION_DENY ? VERDICT_DROP : VERDICT_PASS;
}

PROGRAM("tc/floor")
int tc_floor(struct __sk_buff *skb)
{
	return parse_only(skb);
}

PROGRAM("tc/floor_varied")
int tc_floor_varied(struct __sk_buff *skb)
{
	vary(skb);
	return parse_only(skb);
}

PROGRAM("tc/verdict")
int tc_verdict(struct __sk_buff *skb)
{
	return verdict_only(skb);
}

PROGRAM("tc/verdict_varied")
int tc_verdict_varied(struct __sk_buff *skb)
{
	vary(skb);
	return verdict_only(skb);
}

PROGRAM("tc/ingress_varied")
int tc_ingress_varied(struct __sk_buff *skb)
{
	vary(skb);
	return firewall(skb, DIR_INGRESS, true);
}
