/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * image.h - looks a packet up in one generation's image.
 *
 * An image is one array element, so after one map look-up everything is plain
 * loads. Each offset is masked into the image: a damaged image can give a wrong
 * answer (user space keeps a hash against that), never an access outside.
 */
#ifndef AUTOHEP_IMAGE_H
#define AUTOHEP_IMAGE_H

#include "maps.h"
#include "packet.h"

_Static_assert((IMAGE_BYTES & (IMAGE_BYTES - 1)) == 0, "a power of two");

static __always_inline __u16 image_u16(const void *image, __u64 at)
{
	at &= IMAGE_BYTES - 2;
	opaque(at);
	return *(const __u16 *)(image + at);
}

static __always_inline __u32 image_u32(const void *image, __u64 at)
{
	at &= IMAGE_BYTES - 4;
	opaque(at);
	return *(const __u32 *)(image + at);
}

static __always_inline __u64 image_u64(const void *image, __u64 at)
{
	at &= IMAGE_BYTES - 8;
	opaque(at);
	return *(const __u64 *)(image + at);
}

static __always_inline __u8 image_u8(const void *image, __u64 at)
{
	at &= IMAGE_BYTES - 1;
	opaque(at);
	return *(const __u8 *)(image + at);
}

#define HEADER(image) ((const struct image_header *)(image))

/* The image of a side, or NULL; a side is a generation's lowest bit. */
static __always_inline const void *image_of(__u32 side)
{
	return bpf_map_lookup_elem(MAP(images), &side);
}

/* 16-8-8 multibit trie: three dependent loads at most. */
static __always_inline __u32 class_of_ipv4(const void *image, __be32 address)
{
	__u32 ip = bpf_ntohl(address);
	__u64 trie = HEADER(image)->trie4_at;
	__u64 blocks = trie + TRIE4_ROOT * 2;
	__u32 entry = image_u16(image, trie + (ip >> 16) * 2);

	if (entry & TRIE4_BLOCK) {
		entry = image_u16(image, blocks + (entry & 0x7fff) * 512ULL +
						 (ip >> 8 & 255) * 2);
		if (entry & TRIE4_BLOCK)
			entry = image_u16(image,
					  blocks + (entry & 0x7fff) * 512ULL +
						  (ip & 255) * 2);
	}
	return entry;
}

static __always_inline __u64 two_words(__be32 first, __be32 second)
{
	return (__u64)bpf_ntohl(first) << 32 | bpf_ntohl(second);
}

/* Path-compressed trie, a byte a step or up to fifteen at once. */
static __always_inline __u32 class_of_ipv6(const void *image,
					   const __be32 *address)
{
	__u64 high = two_words(address[0], address[1]);
	__u64 low = two_words(address[2], address[3]);
	__u64 trie = HEADER(image)->trie6_at;
	__u32 entry = HEADER(image)->trie6_root;

	for (int step = 0; step < TRIE6_STEPS; step++) {
		__u64 node = trie + (__u64)(entry & ~TRIE6_KIND) * 8;

		if ((entry & TRIE6_KIND) == TRIE6_BRANCH) {
			entry = image_u32(image, node + (high >> 56) * 4);
			high = high << 8 | low >> 56;
			low <<= 8;
		} else if (entry & TRIE6_SKIP) {
			__u64 mask_high = image_u64(image, node);
			__u64 mask_low = image_u64(image, node + 8);
			__u64 shift, over;

			if ((high & mask_high) != image_u64(image, node + 16) ||
			    (low & mask_low) != image_u64(image, node + 24)) {
				entry = image_u32(image, node + 36);
				break;
			}
			entry = image_u32(image, node + 32);
			shift = image_u32(image, node + 40) * 8ULL;
			/* Without branches: each would double the verifier's work. */
			over = -(shift >> 6 & 1);
			high = (high & ~over) | (low & over);
			low &= ~over;
			shift &= 63;
			high = high << shift | low >> 1 >> (63 - shift);
			low <<= shift;
		} else {
			break;
		}
	}
	return entry & ~TRIE6_KIND;
}

/* Classes of a packet's fields; they hold for every table of the image. */
struct classes {
	__u32 source;
	__u32 destination;
	__u32 l4;
	__u32 source_port;
	__u8 source_flags; /* ADDRESS_* */
	__u8 destination_flags;
};

static __always_inline void classify(const void *image,
				     const struct packet *packet, bool ipv6,
				     struct classes *classes)
{
	__u64 flags_at = HEADER(image)->address_flags_at;
	__u64 sport_at = HEADER(image)->sport_at;

	if (ipv6) {
		classes->source = class_of_ipv6(image, packet->source);
		classes->destination =
			class_of_ipv6(image, packet->destination);
	} else {
		classes->source = class_of_ipv4(image, packet->source[0]);
		classes->destination =
			class_of_ipv4(image, packet->destination[0]);
	}
	classes->source_flags = image_u8(image, flags_at + classes->source);
	classes->destination_flags =
		image_u8(image, flags_at + classes->destination);
	classes->l4 =
		image_u16(image, HEADER(image)->l4_at + (__u64)packet->l4 * 2);
	classes->source_port = 0;
	if (sport_at && packet->l4 < L4_ICMP)
		classes->source_port = image_u16(
			image,
			sport_at + bpf_ntohs(packet->source_port) * 2ULL);
}

/* What a table says; `id` is the verdict id that counters and events use. */
struct outcome {
	__u8 action;
	__u8 flags;
	__u32 rule;
	__u32 id;
};

/* A later table's answer takes the place of an earlier one's that settled nothing.
 * A Log rule that was met there is not forgotten: unless another was met here, the
 * verdict id that knows it stays.
 */
static __always_inline void goes_on(struct outcome *outcome,
				    const struct outcome *next)
{
	__u8 flags = outcome->flags | next->flags;
	/* Without branches: each would double the verifier's work. */
	__u32 here = -(__u32)(next->flags || !outcome->flags);

	outcome->id = (next->id & here) | (outcome->id & ~here);
	outcome->action = next->action;
	outcome->rule = next->rule;
	outcome->flags = flags;
}

/* Offset of a slot's table of that kind, 0 if it has none. */
static __always_inline __u64 table_of(const void *image, __u32 slot, __u32 kind)
{
	return image_u32(image,
			 HEADER(image)->slots_at +
				 (__u64)slot * sizeof(struct image_slot) +
				 kind * 4);
}

static __always_inline struct outcome look_up(const void *image, __u64 table,
					      const struct classes *classes)
{
	struct outcome outcome = {};
	__u64 row, column, columns, pages, cell, verdict;

#define FIELD(name)                                                            \
	((__u64)image_u32(                                                     \
		image, table + __builtin_offsetof(struct image_table, name)))

	row = image_u32(image, FIELD(by_source_at) + classes->source * 4ULL);
	row += image_u32(image, FIELD(by_destination_at) +
					classes->destination * 4ULL);
	row = image_u16(image, FIELD(combine_addresses_at) + row * 2);
	column = image_u32(image, FIELD(by_l4_at) + classes->l4 * 4ULL);
	column += image_u32(image, FIELD(by_source_port_at) +
					   classes->source_port * 4ULL);
	column = image_u16(image, FIELD(combine_l4_at) + column * 2);
	pages = FIELD(pages_at);
	columns = FIELD(columns);
	cell = row * columns + column;
	if (pages) {
		columns = (columns + PAGE_CELLS - 1) >> PAGE_SHIFT;
		cell = image_u16(
			image,
			pages + (row * columns + (column >> PAGE_SHIFT)) * 2);
		cell = cell << PAGE_SHIFT | (column & (PAGE_CELLS - 1));
	}
	outcome.id = image_u16(image, FIELD(cells_at) + cell * 2);
#undef FIELD
	verdict = image_u64(image,
			    HEADER(image)->verdicts_at + outcome.id * 8ULL);
	outcome.action = verdict & 0xff;
	outcome.flags = verdict >> 8 & 0xff;
	outcome.rule = verdict >> 32;
	return outcome;
}

/* Is this destination port of the host forwarded by DNAT? */
static __always_inline bool is_node_port(const void *image,
					 const struct packet *packet)
{
	__u64 at = HEADER(image)->node_ports_at;
	__u32 port = bpf_ntohs(packet->destination_port);

	if (!at || packet->l4 >= L4_ICMP)
		return false;
	/* One bitmap each, in the order of the l4 table: TCP, UDP, SCTP. */
	at += (packet->l4 >> 16) * 8192ULL + (port >> 3);
	return image_u8(image, at) >> (port & 7) & 1;
}

/* Does a Service take this packet to the host elsewhere, by address and port? */
static __always_inline bool is_redirected(const void *image, __u32 slot,
					  const struct packet *packet,
					  const struct classes *classes)
{
	/* The member that follows the tables. */
	__u64 table = table_of(image, slot, TABLE_KINDS);

	if (!table || packet->l4 >= L4_ICMP)
		return false;
	return look_up(image, table, classes).action == ACTION_ALLOW;
}

/* Is the packet the encapsulation that has this place in the image? */
static __always_inline bool
is_tunnel_at(const void *image, const struct packet *packet, __u32 index)
{
	__u32 tunnel;

	if (index >= HEADER(image)->tunnels)
		return false;
	tunnel = image_u32(image, HEADER(image)->tunnels_at + index * 4ULL);
	return (tunnel & 0xff) == packet->protocol &&
	       (!(tunnel >> 16) ||
		tunnel >> 16 == bpf_ntohs(packet->destination_port));
}

_Static_assert(TUNNELS_MAX == 8, "each has a line in is_tunnel");

/* Is this an encapsulation that nodes use among themselves? No loop: compilers
 * make one that counts down from a number which kernels before 6.8 do not bound.
 */
static __always_inline bool is_tunnel(const void *image,
				      const struct packet *packet)
{
	return is_tunnel_at(image, packet, 0) ||
	       is_tunnel_at(image, packet, 1) ||
	       is_tunnel_at(image, packet, 2) ||
	       is_tunnel_at(image, packet, 3) ||
	       is_tunnel_at(image, packet, 4) ||
	       is_tunnel_at(image, packet, 5) ||
	       is_tunnel_at(image, packet, 6) || is_tunnel_at(image, packet, 7);
}

#endif
