/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * firewall.c - the verdict on one packet at one hook.
 *
 * Attached at ingress and egress of every host interface. Reads top to bottom
 * like docs/architecture.md, "A packet's life". Allow is always TC_ACT_UNSPEC, so
 * that other people's programs still run; deny is TC_ACT_SHOT.
 */
#include "events.h"
#include "failsafe.h"
#include "fragments.h"
#include "related.h"

#define VERDICT_PASS (-1) /* TC_ACT_UNSPEC */
#define VERDICT_DROP 2	  /* TC_ACT_SHOT */

/* Headers up to here are made linear before parsing. */
#define LINEAR_BYTES 256

/* What is known of the packet's circumstances, constant while it is judged. */
struct scene {
	const struct ifstate *interface;
	__u32 generation;
	__u32 control_flags;
	__u32 direction;
	__u32 ifindex;
	__u32 ingress_ifindex;
	__u32 length;
	bool ipv6;
};

static __always_inline bool dropped(__u32 reason)
{
	return reason >= REASON_POLICY_DENY;
}

/* Neighbour and router discovery, SLAAC and MLD never meet policy. */
static __always_inline bool is_neighbour(const struct packet *packet)
{
	return packet->protocol == PROTO_ICMPV6 &&
	       packet->fragment != FRAGMENT_LATER &&
	       ((packet->icmp_type >= 130 && packet->icmp_type <= 137) ||
		packet->icmp_type == 143);
}

static __always_inline void judge_by(const struct scene *scene,
				     const void *image, __u64 table,
				     const struct classes *classes,
				     struct outcome *outcome)
{
	struct outcome next = look_up(image, table, classes);

	count_hit(scene->generation & 1, next.id, scene->length);
	goes_on(outcome, &next);
}

/* doNotTrack: no state in either direction, so failsafe replies are spared too.
 * The caller counts the hit: XDP leaves that to tc unless it drops.
 */
static __always_inline __u32 untracked(struct scratch *scratch,
				       const struct scene *scene,
				       const void *image, __u32 slot,
				       const struct packet *packet,
				       const struct classes *classes,
				       struct outcome *outcome, bool *looked_up)
{
	__u64 table = table_of(image, slot,
			       scene->direction == DIR_INGRESS
				       ? TABLE_UNTRACKED_INGRESS
				       : TABLE_UNTRACKED_EGRESS);

	if (!table ||
	    launder(scratch, failsafe_opens(scratch, packet, scene->direction,
					    scene->ipv6)) ||
	    launder(scratch, failsafe_answers(scratch, packet, scene->direction,
					      scene->ipv6)))
		return REASON_NONE;
	*looked_up = true;
	*outcome = look_up(image, table, classes);
	if (outcome->action == ACTION_ALLOW)
		return REASON_UNTRACKED_ALLOW;
	return outcome->action == ACTION_DENY ? REASON_UNTRACKED_DENY
					      : REASON_NONE;
}

/* Passing through, not to or from this host. */
static __always_inline __u32 forwarded(const struct scene *scene,
				       const void *image, __u32 slot,
				       const struct classes *classes,
				       struct outcome *outcome, bool *track,
				       bool host_source)
{
	__u64 in = table_of(image, slot, TABLE_FORWARD_INGRESS);
	__u64 out = table_of(image, slot, TABLE_FORWARD_EGRESS);
	__u64 table = scene->direction == DIR_INGRESS ? in : out;

	/* Replies to a masqueraded pod come back addressed to the host. */
	*track = in || out || host_source;
	if (!table)
		return REASON_FORWARD_NONE;
	judge_by(scene, image, table, classes, outcome);
	if (outcome->action == ACTION_NONE)
		return REASON_FORWARD_NONE;
	return outcome->action == ACTION_ALLOW ? REASON_FORWARD_ALLOW
					       : REASON_FORWARD_DENY;
}

/* To or from this host: the normal policy. */
static __always_inline __u32 local(const struct scene *scene, const void *image,
				   __u32 slot, const struct classes *classes,
				   struct outcome *outcome)
{
	__u64 table = table_of(image, slot,
			       scene->direction == DIR_INGRESS
				       ? TABLE_LOCAL_INGRESS
				       : TABLE_LOCAL_EGRESS);

	if (!table)
		return REASON_POLICY_DENY;
	judge_by(scene, image, table, classes, outcome);
	return outcome->action == ACTION_ALLOW ? REASON_POLICY_ALLOW
					       : REASON_POLICY_DENY;
}

/* Who allowed it, as the flow remembers. */
static __always_inline __u8 origin_of(__u32 reason)
{
	switch (reason) {
	case REASON_FAILSAFE:
		return ORIGIN_FAILSAFE;
	case REASON_OWN_POD:
		return ORIGIN_OWN_POD;
	case REASON_PREDNAT_ALLOW:
		return ORIGIN_PREDNAT;
	case REASON_FORWARD_ALLOW:
	case REASON_FORWARD_NONE:
		return ORIGIN_FORWARDED;
	case REASON_SOCKET:
		return ORIGIN_SOCKET;
	default:
		return ORIGIN_POLICY;
	}
}

/* Stages after state: failsafe, preDNAT, forwarded or local policy. *track says
 * whether an allowed packet leaves a flow behind.
 */
static __always_inline __u32 policy(struct scratch *scratch,
				    const struct scene *scene,
				    const void *image, __u32 slot,
				    const struct packet *packet,
				    const struct classes *classes,
				    struct outcome *outcome, bool *track)
{
	bool ingress = scene->direction == DIR_INGRESS;
	bool workload = scene->interface->flags & IF_WORKLOAD;
	bool from_host = classes->source_flags & ADDRESS_HOST;
	bool to_host = classes->destination_flags & ADDRESS_HOST;
	bool node_port = ingress && to_host &&
			 (is_node_port(image, packet) ||
			  is_redirected(image, slot, packet, classes));
	bool is_local = ingress ? to_host && !node_port
				: from_host && !scene->ingress_ifindex;
	bool failsafe =
		launder(scratch, failsafe_opens(scratch, packet,
						scene->direction, scene->ipv6));
	__u32 flags = HEADER(image)->flags;

	*track = true;
	/* Kubelet probes must never break. */
	if (!ingress && is_local && workload)
		return REASON_OWN_POD;
	if (failsafe && is_local)
		return REASON_FAILSAFE;
	if (ingress && !failsafe) {
		__u64 table = table_of(image, slot, TABLE_PREDNAT);

		if (table) {
			judge_by(scene, image, table, classes, outcome);
			if (outcome->action == ACTION_ALLOW)
				return REASON_PREDNAT_ALLOW;
			if (outcome->action == ACTION_DENY)
				return REASON_PREDNAT_DENY;
		}
	}
	if (!is_local)
		return forwarded(scene, image, slot, classes, outcome, track,
				 ingress ? node_port : from_host);
	if (ingress && workload && (flags & IMAGE_POD_TO_HOST_DROP))
		return REASON_POD_DROP;
	if (ingress && workload && (flags & IMAGE_POD_TO_HOST_ACCEPT))
		return REASON_POD_ACCEPT;
	return local(scene, image, slot, classes, outcome);
}

/* Does the packet end or begin at this host, by its address? */
static __always_inline bool is_at_host(const struct scene *scene,
				       const struct classes *classes)
{
	if (scene->direction == DIR_INGRESS)
		return classes->destination_flags & ADDRESS_HOST;
	return classes->source_flags & ADDRESS_HOST && !scene->ingress_ifindex;
}

/* What the kernel's own state says of a packet that has no flow: a live socket,
 * a cookie, an error about a flow, a later fragment of a judged datagram.
 */
static __always_inline __u32 by_state(struct __sk_buff *skb, void *data,
				      void *end, const struct scene *scene,
				      const struct packet *packet,
				      union flow_key *key, bool at_host,
				      enum socket_answer *answer)
{
	if (packet->fragment == FRAGMENT_LATER) {
		__u32 action = fragment_recall(packet, scene->ifindex,
					       scene->direction, scene->ipv6);

		if (action == ACTION_NONE)
			return REASON_NONE;
		return action == ACTION_ALLOW ? REASON_FRAGMENT
					      : REASON_FRAGMENT_DENY;
	}
	if (packet->protocol == PROTO_TCP) {
		/* A listener on any address also answers for a pod's. */
		if (is_opening(packet) || !at_host)
			return REASON_NONE;
		*answer = socket_ask(skb, data, end, packet, scene->direction,
				     scene->ipv6);
		if (*answer == SOCKET_COOKIE)
			return REASON_SYNCOOKIE;
		if (*answer != SOCKET_UNKNOWN)
			return REASON_SOCKET;
		if (scene->direction == DIR_EGRESS &&
		    socket_aborts(skb, packet))
			return REASON_SOCKET;
		return REASON_NONE;
	}
	if (is_icmp_error(packet) &&
	    is_related(skb, data, end, packet, scene->direction, scene->ipv6,
		       key))
		return REASON_RELATED;
	return REASON_NONE;
}

/* Encapsulation between this host, by any address of its own, and a known node. */
static __always_inline bool by_tunnel(const struct scene *scene,
				      const void *image,
				      const struct packet *packet,
				      const struct classes *classes)
{
	bool ingress = scene->direction == DIR_INGRESS;
	__u8 here = ingress ? classes->destination_flags
			    : classes->source_flags;
	__u8 there = ingress ? classes->source_flags
			     : classes->destination_flags;

	return here & ADDRESS_HOST && there & ADDRESS_NODE &&
	       is_tunnel(image, packet);
}

/* The verdict on a parsed packet, as a reason. */
static __always_inline __u32 judge(struct __sk_buff *skb, void *data, void *end,
				   struct scratch *scratch,
				   const struct scene *scene,
				   const struct packet *packet,
				   struct outcome *outcome)
{
	__u32 side = scene->generation & 1;
	__u32 slot = scene->interface->slot[side] - 1;
	__u32 endpoint = scene->interface->endpoint[side];
	const void *image = image_of(side);
	enum socket_answer answer = SOCKET_UNKNOWN;
	__u32 reason, now = now_jiffies();
	bool has_key, looked_up = false, track = false;
	struct classes classes;
	union flow_key key;
	struct flow *flow;

	if (!image)
		return REASON_NO_IMAGE;
	if (unlikely(scene->control_flags & CONTROL_UNTRACKED &&
		     !(scene->interface->flags & IF_WORKLOAD))) {
		classify(image, packet, scene->ipv6, &classes);
		if (!by_tunnel(scene, image, packet, &classes)) {
			reason = untracked(scratch, scene, image, slot, packet,
					   &classes, outcome, &looked_up);
			if (looked_up)
				count_hit(side, outcome->id, scene->length);
			reason = launder(scratch, reason);
			if (reason)
				return reason;
		}
	}
	has_key = flow_key(packet, scene->direction, scene->ipv6, &key);
	if (likely(has_key && !is_opening(packet))) {
		flow = flow_find(&key, scene->ipv6);
		if (flow && flow_allows(flow, packet->protocol,
					scene->direction, endpoint, now)) {
			flow_update(flow, packet, scene->direction,
				    scene->length, now);
			return REASON_FLOW;
		}
	}
	has_key = launder(scratch, has_key);
	classify(image, packet, scene->ipv6, &classes);
	if (by_tunnel(scene, image, packet, &classes)) {
		reason = REASON_TUNNEL;
		track = true;
	} else {
		reason = by_state(skb, data, end, scene, packet, &key,
				  is_at_host(scene, &classes), &answer);
		track = answer == SOCKET_LIVE;
	}
	reason = launder(scratch, reason);
	track = launder(scratch, track);
	if (!reason) {
		reason = policy(scratch, scene, image, slot, packet, &classes,
				outcome, &track);
		reason = launder(scratch, reason);
		track = launder(scratch, track);
	}
	if (track && has_key && !dropped(reason)) {
		struct approval approval = {
			.endpoint = endpoint,
			.generation = scene->generation,
			.rule = outcome->rule,
			.origin = launder(scratch, origin_of(reason)),
			.state = reason == REASON_SOCKET ? FLOW_REPLIED : 0,
		};

		flow_approve(scratch, &key, scene->ipv6, packet,
			     scene->direction, scene->length, now, &approval);
	}
	return reason;
}

/* Judges, remembers fragments, reports. Returns the reason. */
static __always_inline __u32 judge_and_report(struct __sk_buff *skb, void *data,
					      void *end,
					      struct scratch *scratch,
					      const struct control *control,
					      const struct scene *scene,
					      const struct packet *packet)
{
	struct outcome outcome = {};
	__u32 reason;
	bool log;

	if (scene->ipv6 && is_neighbour(packet))
		return REASON_NEIGHBOUR;
	reason = judge(skb, data, end, scratch, scene, packet, &outcome);
	if (unlikely(packet->fragment == FRAGMENT_FIRST))
		fragment_remember(packet, scene->ifindex, scene->direction,
				  scene->ipv6,
				  dropped(reason) ? ACTION_DENY : ACTION_ALLOW);
	log = outcome.flags & VERDICT_LOG;
	if (unlikely(log) ||
	    (dropped(reason) && unlikely(control->events_until) &&
	     bpf_jiffies64() < control->events_until))
		emit(packet, &outcome, scene->generation, scene->ifindex,
		     scene->direction, scene->ipv6, scene->length,
		     log ? EVENT_LOG : EVENT_DENY, reason);
	return reason;
}

/* An interface the agent does not know yet is judged by the wildcard endpoint,
 * which stands at index 0.
 */
static __always_inline const struct ifstate *interface_of(__u32 ifindex)
{
	__u32 place = ifindex & (IFSTATE_MAX - 1), unknown = 0;
	const struct ifstate *interface =
		bpf_map_lookup_elem(MAP(ifstate), &place);

	if (likely(interface && interface->ifindex == ifindex))
		return interface;
	interface = bpf_map_lookup_elem(MAP(ifstate_more), &ifindex);
	if (interface)
		return interface;
	return bpf_map_lookup_elem(MAP(ifstate_more), &unknown);
}

/* Parses and judges a packet at an interface that has an endpoint. */
static __always_inline __u32 inspect(struct __sk_buff *skb,
				     const struct control *control,
				     struct scene *scene, bool layer2)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct scratch *scratch = scratch_of_cpu();
	struct packet *packet;
	enum reason reason = REASON_NONE;
	__u32 l3_at = 0;
	__u16 type;

	if (!scratch)
		return REASON_MALFORMED;
	packet = &scratch->packet;
	__builtin_memset(packet, 0, sizeof(*packet));
	if (unlikely(data + LINEAR_BYTES > end &&
		     scene->length > (__u32)(end - data))) {
		__u32 wanted = scene->length < LINEAR_BYTES ? scene->length
							    : LINEAR_BYTES;

		bpf_skb_pull_data(skb, wanted);
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
	}
	if (layer2) {
		type = parse_ethernet(data, end, &l3_at, &reason);
		if (unlikely(reason))
			return reason;
		l3_at = launder(scratch, l3_at);
		if (l3_at > ETHERNET_MOST)
			return REASON_MALFORMED;
	} else {
		type = bpf_ntohs(skb->protocol);
	}
	if (type == ETHERTYPE_IPV4)
		reason = parse_ipv4(data, end, scene->length, l3_at, packet);
	else if (type == ETHERTYPE_IPV6)
		reason = parse_ipv6(data, end, scene->length, l3_at, packet);
	else
		return REASON_NON_IP;
	if (unlikely(reason))
		return reason;
	scene->ipv6 = type == ETHERTYPE_IPV6;
	forget();
	return judge_and_report(skb, data, end, scratch, control, scene,
				packet);
}

static __always_inline int firewall(struct __sk_buff *skb, __u32 direction,
				    bool layer2)
{
	__u32 zero = 0, counter = 0, reason;
	const struct control *control =
		bpf_map_lookup_elem(MAP(control), &zero);
	struct scene scene = { .direction = direction };
	__u64 in_force;

	if (!control)
		return VERDICT_PASS;
	/* One load: a packet belongs to one generation from here on. */
	in_force = *(const volatile __u64 *)control;
	scene.generation = (__u32)in_force;
	scene.control_flags = in_force >> 32;
	scene.ifindex = skb->ifindex;
	scene.ingress_ifindex = skb->ingress_ifindex;
	scene.length = skb->len;
	scene.interface = interface_of(scene.ifindex);
	if (scene.interface)
		counter = scene.interface->counter;
	if (unlikely(!scene.generation))
		reason = REASON_NO_IMAGE;
	else if (unlikely(control->rescue_until) &&
		 bpf_jiffies64() < control->rescue_until)
		reason = REASON_RESCUE;
	else if (unlikely(!scene.interface))
		reason = REASON_NO_ENDPOINT;
	else if (unlikely(scene.interface->flags & IF_EXCLUDED))
		reason = REASON_EXCLUDED;
	else if (!scene.interface->slot[scene.generation & 1])
		reason = REASON_NO_ENDPOINT;
	else
		reason = inspect(skb, control, &scene, layer2);
	count(counter, direction, reason);
	return dropped(reason) ? VERDICT_DROP : VERDICT_PASS;
}

PROGRAM("tc/ingress")
int tc_ingress(struct __sk_buff *skb)
{
	return firewall(skb, DIR_INGRESS, true);
}

PROGRAM("tc/egress")
int tc_egress(struct __sk_buff *skb)
{
	return firewall(skb, DIR_EGRESS, true);
}

PROGRAM("tc/ingress_l3")
int tc_ingress_l3(struct __sk_buff *skb)
{
	return firewall(skb, DIR_INGRESS, false);
}

PROGRAM("tc/egress_l3")
int tc_egress_l3(struct __sk_buff *skb)
{
	return firewall(skb, DIR_EGRESS, false);
}

#include "xdp.h"

#ifdef AUTOHEP_CLANG
char _license[] SEC("license") = "GPL";
#endif
