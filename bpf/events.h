/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * events.h - counters for everything, and a rate-limited event for what a Log
 * rule or an observer asks for.
 */
#ifndef AUTOHEP_EVENTS_H
#define AUTOHEP_EVENTS_H

#include "image.h"

static __always_inline void count(__u32 counter, __u32 direction, __u32 reason)
{
	struct counters *counters =
		bpf_map_lookup_elem(MAP(counters), &counter);

	if (counters)
		counters->packets[direction][reason & (REASON_MAX - 1)]++;
}

static __always_inline void count_hit(__u32 side, __u32 id, __u32 length)
{
	__u32 index = side * VERDICTS_MAX + id;
	struct hits *hits = bpf_map_lookup_elem(MAP(hits), &index);

	if (hits) {
		hits->packets++;
		hits->bytes += length;
	}
}

static __always_inline bool event_affordable(void)
{
	__u32 zero = 0;
	struct event_budget *budget =
		bpf_map_lookup_elem(MAP(event_budget), &zero);
	__u64 now = bpf_jiffies64();

	if (!budget)
		return false;
	if (now - budget->window >= SECONDS) {
		budget->window = now;
		budget->used = 0;
	}
	if (budget->used >= EVENTS_PER_SECOND) {
		budget->lost++;
		return false;
	}
	budget->used++;
	return true;
}

/* The ring has no room: nobody reads it, or not as fast as it is written. */
static __always_inline void lose_event(void)
{
	__u32 zero = 0;
	struct event_budget *budget =
		bpf_map_lookup_elem(MAP(event_budget), &zero);

	if (budget)
		budget->lost++;
}

static __always_inline void emit(const struct packet *packet,
				 const struct outcome *outcome,
				 __u32 generation, __u32 ifindex,
				 __u32 direction, bool ipv6, __u32 length,
				 __u8 kind, __u8 reason)
{
	struct event *event;

	if (!event_affordable())
		return;
	event = bpf_ringbuf_reserve(MAP(events), sizeof(*event), 0);
	if (!event) {
		lose_event();
		return;
	}
	event->time = bpf_ktime_get_ns();
	event->generation = generation;
	event->ifindex = ifindex;
	event->rule = outcome->rule;
	event->verdict = outcome->id;
	event->kind = kind;
	event->reason = reason;
	event->action = outcome->action;
	event->direction = direction;
	event->version = ipv6 ? 6 : 4;
	event->protocol = packet->protocol;
	event->source_port = packet->source_port;
	event->destination_port = packet->destination_port;
	if (packet->l4 >= L4_ICMP && packet->l4 < L4_PROTOCOL)
		event->source_port = packet->l4 & 0xffff;
	event->length = length;
	event->pad = 0;
	__builtin_memcpy(event->source, packet->source, 16);
	__builtin_memcpy(event->destination, packet->destination, 16);
	bpf_ringbuf_submit(event, 0);
}

#endif
