/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * maps.h - every map, who writes it and who reads it; nothing else.
 *
 * pyagent/abi.py lists the same maps for the loader; a test compares the two.
 */
#ifndef AUTOHEP_MAPS_H
#define AUTOHEP_MAPS_H

#include "abi.h"
#include "compat.h"
#include "packet.h"

/* The switch: written by the agent and by hepctl rescue, read by every packet. */
DEFINE_MAP(BPF_MAP_TYPE_ARRAY, __u32, struct control, 1, BPF_F_MMAPABLE,
	   control);

struct image_bytes {
	__u8 bytes[IMAGE_BYTES];
};

/* Both generations' images: written whole through mmap by the agent into the
 * side that is not in force, read by every packet without a flow.
 */
DEFINE_MAP(BPF_MAP_TYPE_ARRAY, __u32, struct image_bytes, 2, BPF_F_MMAPABLE,
	   images);

/* Interfaces, direct-mapped by ifindex: written by the agent. */
DEFINE_MAP(BPF_MAP_TYPE_ARRAY, __u32, struct ifstate, IFSTATE_MAX, 0, ifstate);

/* Interfaces whose place in ifstate is taken, by ifindex: written by the agent. */
DEFINE_MAP(BPF_MAP_TYPE_HASH, __u32, struct ifstate, IFSTATE_MORE_MAX, 0,
	   ifstate_more);

/* Packets by interface, direction and reason: written here, read by hepctl. */
DEFINE_MAP(BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct counters, IFSTATE_MAX, 0,
	   counters);

/* Packets judged, by side * VERDICTS_MAX + verdict id: written here, folded into
 * rule totals by the agent after every flip.
 */
DEFINE_MAP(BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct hits, 2 * VERDICTS_MAX, 0,
	   hits);

/* Allowed flows: written here (and seeded by the agent), read by hepctl. */
DEFINE_MAP(BPF_MAP_TYPE_LRU_HASH, struct flow4_key, struct flow, FLOWS_MAX, 0,
	   flows4);
DEFINE_MAP(BPF_MAP_TYPE_LRU_HASH, struct flow6_key, struct flow, FLOWS_MAX, 0,
	   flows6);

/* Datagrams whose first fragment was judged: written and read here. */
DEFINE_MAP(BPF_MAP_TYPE_LRU_HASH, struct fragment_key, struct fragment,
	   FRAGMENTS_MAX, 0, fragments);

/* Failsafe ports, and the networks of those that are limited to some: written by
 * the agent, consulted before any policy.
 */
DEFINE_MAP(BPF_MAP_TYPE_ARRAY, __u32, struct failsafe_ports, 1, BPF_F_MMAPABLE,
	   failsafe);
DEFINE_MAP(BPF_MAP_TYPE_LPM_TRIE, struct failsafe_key, __u32, FAILSAFE_NETS_MAX,
	   BPF_F_NO_PREALLOC, failsafe_nets);

/* Log and deny events, and each CPU's budget of them: written here, read by the
 * agent and hepctl observe.
 */
DEFINE_RING(EVENTS_BYTES, events);
DEFINE_MAP(BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct event_budget, 1, 0,
	   event_budget);

/* Room for what does not fit on the stack. The packet stands here too, for what is
 * read back from a map is unknown to the verifier: all ways through the parser
 * meet in one state. tc runs with softirqs off, so nobody else uses a CPU's copy
 * meanwhile.
 */
struct scratch {
	struct packet packet;
	struct packet inner;
	struct flow fresh;
	struct fragment_key fragment;
	struct failsafe_key failsafe;
	struct bpf_sock_tuple tuple;
	__u32 word; /* see launder() */
};

DEFINE_MAP(BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct scratch, 1, 0, scratch);

static __always_inline struct scratch *scratch_of_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(MAP(scratch), &zero);
}

/* The same value, of which the verifier knows nothing any more: after a choice
 * with many ways it goes on once instead of once for each.
 */
static __always_inline __u32 launder(struct scratch *scratch, __u32 value)
{
	scratch->word = value;
	forget();
	return scratch->word;
}

#endif
