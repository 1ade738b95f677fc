/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * xdp.h - doNotTrack's Deny before the kernel has made a packet of the frame.
 *
 * The end of firewall.c, whose stages it uses. It only ever drops what tc would
 * drop at the untracked stage; everything else goes on, uncounted, to tc, which
 * judges it in full. So it may be missing on any interface, or come and go.
 */
#ifndef AUTOHEP_XDP_H
#define AUTOHEP_XDP_H

#include "events.h"

/* Is the packet denied by an untracked policy? Counts, reports and remembers it
 * as tc would.
 */
static __always_inline bool denied_early(struct scratch *scratch,
					 const struct control *control,
					 const struct scene *scene,
					 const struct packet *packet)
{
	__u32 side = scene->generation & 1;
	__u32 slot = scene->interface->slot[side] - 1;
	const void *image = image_of(side);
	struct outcome outcome = {};
	struct classes classes;
	__u32 reason;
	bool looked_up = false, log;

	if (!image)
		return false;
	classify(image, packet, scene->ipv6, &classes);
	if (by_tunnel(scene, image, packet, &classes))
		return false;
	reason = untracked(scratch, scene, image, slot, packet, &classes,
			   &outcome, &looked_up);
	if (reason != REASON_UNTRACKED_DENY)
		return false;
	count_hit(side, outcome.id, scene->length);
	count(scene->interface->counter, DIR_INGRESS, reason);
	if (unlikely(packet->fragment == FRAGMENT_FIRST))
		fragment_remember(packet, scene->ifindex, DIR_INGRESS,
				  scene->ipv6, ACTION_DENY);
	log = outcome.flags & VERDICT_LOG;
	if (unlikely(log) || (unlikely(control->events_until) &&
			      bpf_jiffies64() < control->events_until))
		emit(packet, &outcome, scene->generation, scene->ifindex,
		     DIR_INGRESS, scene->ipv6, scene->length,
		     log ? EVENT_LOG : EVENT_DENY, reason);
	return true;
}

/* Has the interface an endpoint, in a generation with untracked tables? */
static __always_inline bool is_early(const struct control *control,
				     const struct scene *scene)
{
	const struct ifstate *interface = scene->interface;

	return scene->generation && scene->control_flags & CONTROL_UNTRACKED &&
	       !(control->rescue_until &&
		 bpf_jiffies64() < control->rescue_until) &&
	       interface && !(interface->flags & (IF_EXCLUDED | IF_WORKLOAD)) &&
	       interface->slot[scene->generation & 1];
}

PROGRAM("xdp")
int xdp_ingress(struct xdp_md *frame)
{
	void *data = (void *)(long)frame->data;
	void *end = (void *)(long)frame->data_end;
	struct scene scene = { .direction = DIR_INGRESS };
	__u32 zero = 0, l3_at = 0;
	const struct control *control =
		bpf_map_lookup_elem(MAP(control), &zero);
	struct scratch *scratch = scratch_of_cpu();
	enum reason reason = REASON_NONE;
	struct packet *packet;
	__u64 in_force;
	__u16 type;

	if (!control || !scratch)
		return XDP_PASS;
	in_force = *(const volatile __u64 *)control;
	scene.generation = (__u32)in_force;
	scene.control_flags = in_force >> 32;
	scene.ifindex = frame->ingress_ifindex;
	scene.length = end - data;
	scene.interface = interface_of(scene.ifindex);
	if (!is_early(control, &scene))
		return XDP_PASS;
	packet = &scratch->packet;
	__builtin_memset(packet, 0, sizeof(*packet));
	type = parse_ethernet(data, end, &l3_at, &reason);
	l3_at = launder(scratch, l3_at);
	if (reason || l3_at > ETHERNET_MOST)
		return XDP_PASS;
	if (type == ETHERTYPE_IPV4)
		reason = parse_ipv4(data, end, scene.length, l3_at, packet);
	else if (type == ETHERTYPE_IPV6)
		reason = parse_ipv6(data, end, scene.length, l3_at, packet);
	else
		return XDP_PASS;
	scene.ipv6 = type == ETHERTYPE_IPV6;
	forget();
	if (reason || (scene.ipv6 && is_neighbour(packet)))
		return XDP_PASS;
	return denied_early(scratch, control, &scene, packet) ? XDP_DROP
							      : XDP_PASS;
}

#endif
