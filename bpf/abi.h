/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * abi.h - every layout and number that the BPF program and user space share.
 *
 * This file is the single source: pyagent/abi.py mirrors it and a test compares
 * the two through BTF. Change a layout, and ABI_VERSION changes with it.
 * All integers are host order unless typed __be16/__be32.
 */
#ifndef AUTOHEP_ABI_H
#define AUTOHEP_ABI_H

#include <linux/types.h>

#define ABI_VERSION 3

/* Of struct flow and its keys alone: versions of the program with the same one take
 * over each other's flow tables, whatever else has changed between them. From 2 on
 * it is the end of the maps' names in the kernel.
 */
#define FLOW_LAYOUT 1

/* Sizes; -D overrides those a node may tune. */
#ifndef FLOWS_MAX
#define FLOWS_MAX 262144 /* entries of each flow table (IPv4, IPv6) */
#endif
#ifndef IMAGE_BYTES
#define IMAGE_BYTES                                                            \
	8388608 /* one generation's image; at most 4 MiB before Linux 5.16 */
#endif
#define IFSTATE_MAX 1024 /* direct-mapped by ifindex; a power of two */
#define IFSTATE_MORE_MAX 4096
#define VERDICTS_MAX 32768 /* verdict ids of one generation */
#define FRAGMENTS_MAX 8192
#define EVENTS_BYTES 262144
#define ENDPOINTS_MAX 64 /* host endpoints of one node: bits of flow.approved */

/* Direction of the packet at the hook, seen from the host. */
enum direction {
	DIR_INGRESS = 0,
	DIR_EGRESS = 1,
};

/* What a policy table says of a packet. */
enum action {
	ACTION_NONE = 0, /* no rule matched: go on to the next stage */
	ACTION_ALLOW = 1,
	ACTION_DENY = 2,
};

/* A slot's policy tables, by stage and direction. */
enum table_kind {
	TABLE_UNTRACKED_INGRESS = 0,
	TABLE_UNTRACKED_EGRESS = 1,
	TABLE_PREDNAT = 2,
	TABLE_FORWARD_INGRESS = 3,
	TABLE_FORWARD_EGRESS = 4,
	TABLE_LOCAL_INGRESS = 5,
	TABLE_LOCAL_EGRESS = 6,
	TABLE_KINDS = 7,
};

/* Why a packet got its verdict; also the index of the per-interface counters. */
enum reason {
	REASON_NONE = 0,
	/* passed */
	REASON_FLOW = 1,      /* an approved flow, or the reply to one */
	REASON_SOCKET = 2,    /* the kernel has a live TCP socket for it */
	REASON_SYNCOOKIE = 3, /* completes a handshake begun by SYN cookie */
	REASON_RELATED = 4,   /* ICMP error about an approved flow */
	REASON_FAILSAFE = 5,
	REASON_POLICY_ALLOW = 6,
	REASON_UNTRACKED_ALLOW = 7,
	REASON_PREDNAT_ALLOW = 8,
	REASON_FORWARD_ALLOW =
		9, /* forwarded, allowed by an applyOnForward policy */
	REASON_FORWARD_NONE =
		10, /* forwarded, and no applyOnForward policy applies */
	REASON_OWN_POD = 11,	/* host to its own pod */
	REASON_POD_ACCEPT = 12, /* defaultEndpointToHostAction: Accept */
	REASON_NON_IP = 13,	/* ARP, LLC, LLDP, ...: not ours to judge */
	REASON_NEIGHBOUR = 14,	/* neighbour discovery, router discovery, MLD */
	REASON_TUNNEL = 15,	/* encapsulation between known nodes */
	REASON_FRAGMENT = 16,	/* later fragment of an allowed datagram */
	REASON_NO_ENDPOINT =
		17,	      /* no host endpoint applies to this interface */
	REASON_NO_IMAGE = 18, /* no policy image loaded yet */
	REASON_RESCUE = 19,   /* hepctl rescue open */
	REASON_EXCLUDED = 20, /* interface excluded by configuration */
	/* dropped */
	REASON_POLICY_DENY = 32,
	REASON_UNTRACKED_DENY = 33,
	REASON_PREDNAT_DENY = 34,
	REASON_FORWARD_DENY = 35,
	REASON_POD_DROP = 36,	/* defaultEndpointToHostAction: Drop */
	REASON_SHORT = 37,	/* truncated before the end of a header */
	REASON_MALFORMED = 38,	/* impossible version or header length */
	REASON_EXTENSIONS = 39, /* too many or unknown IPv6 extension headers */
	REASON_FRAGMENT_DENY = 40, /* later fragment of a denied datagram */
	REASON_VLAN = 41,	   /* more than two VLAN tags in the frame */
	REASON_MAX = 64,	   /* a power of two */
};

/* ---- control: one cell, read first by every packet ---------------------- */

/* The first eight bytes are written and read as one: the generation and what the
 * program must know of it before it looks at the image. Written by the agent;
 * rescue_until by hepctl rescue, events_until by whoever observes.
 */
struct control {
	__u32 generation; /* 0: no image; its lowest bit is the side in force */
	__u32 flags;	  /* CONTROL_* */
	__u64 rescue_until; /* jiffies64; 0: closed. Until then everything passes */
	__u64 events_until; /* jiffies64; until then drops are reported as events */
};

#define CONTROL_UNTRACKED 1 /* some endpoint has untracked tables */

/* ---- ifstate: what the program must know of an interface ---------------- */

/* Direct-mapped by ifindex & (IFSTATE_MAX - 1); others in ifstate_more. */
struct ifstate {
	__u32 ifindex;	  /* 0: empty */
	__u16 slot[2];	  /* endpoint slot + 1 by side; 0: no endpoint */
	__u8 endpoint[2]; /* index of the endpoint by side, see flow.approved */
	__u16 flags;	  /* IF_* */
	__u16 counter; /* index into the counters map, 0: shared by the rest */
	__u16 pad;
};

#define IF_WORKLOAD 1 /* the host's side of a pod */
#define IF_EXCLUDED 2
#define IF_LAYER3 4 /* informative: the _l3 programs are attached there */

/* One interface's counters, per CPU, by direction and reason. */
struct counters {
	__u64 packets[2][REASON_MAX];
};

/* Packets judged by one verdict id of one side, per CPU. */
struct hits {
	__u64 packets;
	__u64 bytes;
};

/* ---- flows --------------------------------------------------------------- */

/* Local is this host's side of the packet at the hook: source at egress,
 * destination at ingress; so both directions of a flow share one entry on an
 * interface, and a packet that crosses lo meets two. Ports network order; for
 * ICMP echo both are the identifier, else 0.
 */
struct flow4_key {
	__be32 local;
	__be32 remote;
	__be16 local_port;
	__be16 remote_port;
	__u8 protocol;
	__u8 pad[3];
};

struct flow6_key {
	__be32 local[4];
	__be32 remote[4];
	__be16 local_port;
	__be16 remote_port;
	__u8 protocol;
	__u8 pad[3];
};

/* Who allowed a flow. */
enum flow_origin {
	ORIGIN_POLICY = 0,
	ORIGIN_FAILSAFE = 1,
	ORIGIN_SOCKET = 2,    /* learnt from the kernel's socket table */
	ORIGIN_FORWARDED = 3, /* forwarded traffic, also a masqueraded pod's */
	ORIGIN_SEEDED = 4,    /* put there by the agent at start */
	ORIGIN_OWN_POD = 5,
	ORIGIN_PREDNAT = 6,
};

struct flow {
	__u64 approved; /* bit per endpoint index whose policy let the opener's side pass */
	__u64 packets;
	__u64 bytes;
	__u32 last; /* jiffies, low 32 bits, of the last packet */
	__u32 created;
	__u32 rule;	  /* stable key of the rule that allowed it, 0: none */
	__u32 generation; /* in force when it was allowed */
	__u8 opener;	  /* enum direction of the first packet */
	__u8 origin;	  /* enum flow_origin */
	__u16 state;	  /* FLOW_* bits */
	__u32 pad;
};

#define FLOW_REPLIED 1 /* a packet against the opener's direction was seen */
#define FLOW_FIN_OPENER 2
#define FLOW_FIN_REPLIER 4
#define FLOW_RST 8

/* Idle time-outs, seconds. */
#define IDLE_TCP 432000	      /* as the kernel's own conntrack */
#define IDLE_TCP_HANDSHAKE 60 /* never answered */
#define IDLE_TCP_CLOSING 120  /* RST seen, or FIN by both */
#define IDLE_UDP 60
#define IDLE_UDP_REPLIED 180
#define IDLE_ICMP 30
#define IDLE_OTHER 600

/* ---- fragments ------------------------------------------------------------ */

struct fragment_key {
	__be32 source[4]; /* IPv4: in the first word, others 0 */
	__be32 destination[4];
	__be32 id;
	__u32 ifindex;
	__u8 protocol;
	__u8 direction;
	__u8 version;
	__u8 pad;
};

struct fragment {
	__u32 last;   /* jiffies of the first fragment */
	__u32 action; /* enum action */
};

#define IDLE_FRAGMENT 30

/* ---- failsafes ------------------------------------------------------------ */

/* One element: two bits a port, by failsafe_index(direction, protocol). */
struct failsafe_ports {
	__u8 any[6][8192];     /* open to every peer */
	__u8 limited[6][8192]; /* open to the networks of failsafe_nets */
};

/* Index of TCP, UDP and SCTP within failsafe_ports, plus 3 for outbound. */
#define FAILSAFE_TCP 0
#define FAILSAFE_UDP 1
#define FAILSAFE_SCTP 2
#define FAILSAFE_OUTBOUND 3

/* LPM key; prefixlen counts the fixed 32 bits before the address as well. */
struct failsafe_key {
	__u32 prefixlen;
	__be16 port;
	__u8 index; /* as in failsafe_ports */
	__u8 version;
	__be32 address[4]; /* IPv4: in the first word */
};

#define FAILSAFE_FIXED_BITS 32
#define FAILSAFE_NETS_MAX 4096

/* ---- the image: all tables of one generation, position-independent --------
 *
 * Offsets are bytes from the image's start, all sections 8-byte aligned.
 * "index arrays" hold u32 indexed by class id; adding two of them gives an index
 * into a u16 combine table; the two combined give a cell of the verdict table:
 *
 *   row  = combine_addresses[ by_source[source class] + by_destination[destination class] ]
 *   col  = combine_l4[ by_l4[l4 class] + by_source_port[source-port class] ]
 *   cell = cells[ row * columns + col ]        -> verdicts[cell]
 *
 * Where a table has pages, its rows are cut into runs of PAGE_CELLS cells, the last
 * one filled up, and equal runs are stored once:
 *
 *   run  = pages[ row * (runs of a row) + col / PAGE_CELLS ]
 *   cell = cells[ run * PAGE_CELLS + col % PAGE_CELLS ]
 */
struct image_header {
	__u32 magic; /* IMAGE_MAGIC */
	__u32 abi;   /* ABI_VERSION */
	__u32 generation;
	__u32 size;	/* bytes used */
	__u32 flags;	/* IMAGE_* */
	__u32 slots;	/* number of endpoint slots */
	__u32 slots_at; /* struct image_slot[slots] */
	__u32 trie4_at; /* u16[65536] root, then blocks of u16[256] */
	__u32 trie6_at; /* u32 entries; the root entry is trie6_root */
	__u32 trie6_root;
	__u32 l4_at;		/* u16[L4_ENTRIES] */
	__u32 sport_at;		/* u16[65536]; 0: no rule names a source port */
	__u32 address_flags_at; /* u8[address classes], ADDRESS_* */
	__u32 verdicts_at;	/* struct verdict[verdicts] */
	__u32 verdicts;
	__u32 address_classes;
	__u32 l4_classes;
	__u32 sport_classes;
	__u32 node_ports_at; /* 0: none; u8[3][8192] bitmaps: TCP, UDP, SCTP */
	__u32 tunnels_at;    /* struct image_tunnel[tunnels] */
	__u32 tunnels;
	__u32 edits; /* changes made in place since it was compiled */
	__u64 compiled; /* its hash when it was compiled: names it, edited or not */
	__u64 hash; /* of the image with the last three fields 0, by user space */
};

#define IMAGE_MAGIC 0x48455031	   /* "HEP1" */
#define IMAGE_UNTRACKED 1	   /* some slot has untracked tables */
#define IMAGE_POD_TO_HOST_ACCEPT 2 /* defaultEndpointToHostAction */
#define IMAGE_POD_TO_HOST_DROP 4

/* One host endpoint in force on this node; table offset 0: no such table. */
struct image_slot {
	__u32 table_at[TABLE_KINDS];
	__u32 services_at; /* what Services take elsewhere, the same for all slots */
};

struct image_table {
	__u32 by_source_at;	    /* u32[address classes] */
	__u32 by_destination_at;    /* u32[address classes] */
	__u32 combine_addresses_at; /* u16[] */
	__u32 by_l4_at;		    /* u32[l4 classes] */
	__u32 by_source_port_at;    /* u32[source-port classes] */
	__u32 combine_l4_at;	    /* u16[] */
	__u32 cells_at; /* u16[rows * columns], or u16[runs * PAGE_CELLS] */
	__u32 columns;
	__u32 rows;
	__u32 combine_addresses; /* entries */
	__u32 combine_l4;	 /* entries */
	__u32 pages_at; /* u16[rows * runs of a row]; 0: every cell is written out */
	__u32 runs; /* 0 without pages */
	__u32 pad;
};

#define PAGE_SHIFT 6
#define PAGE_CELLS (1 << PAGE_SHIFT)

/* Outcome of a cell; the cell number is the verdict id that counters use. */
struct verdict {
	__u8 action; /* enum action */
	__u8 flags;  /* VERDICT_* */
	__u16 pad;
	__u32 rule; /* stable key of the deciding rule; 0: the end of a tier, a profile's absence */
};

#define VERDICT_LOG 1

struct image_tunnel {
	__u8 protocol;
	__u8 pad;
	__u16 port; /* 0: the protocol alone */
};

#define TUNNELS_MAX 8

/* Address class flags. */
#define ADDRESS_HOST 1 /* one of this host's addresses, broadcast, multicast */
#define ADDRESS_NODE 2 /* a known node's address */

/* IPv4 trie entry: class id, or TRIE4_BLOCK | block number. */
#define TRIE4_BLOCK 0x8000
#define TRIE4_ROOT 65536

/* IPv6 trie entry: two top bits say what the other thirty are. */
#define TRIE6_CLASS 0x00000000 /* class id */
#define TRIE6_BRANCH                                                           \
	0x40000000 /* 8-byte units from trie6_at: u32[256] by the next byte */
#define TRIE6_SKIP                                                             \
	0x80000000 /* 8-byte units from trie6_at: struct trie6_skip */
#define TRIE6_KIND 0xc0000000
#define TRIE6_STEPS 20 /* nodes on the longest path */

/* Compares the next bits with a constant, then goes on. */
struct trie6_skip {
	__u64 mask_high; /* host order, the next address bits from the top */
	__u64 mask_low;
	__u64 value_high;
	__u64 value_low;
	__u32 match; /* entry to go on with after `bytes` bytes */
	__u32 miss;  /* entry if the bits differ; always a class */
	__u32 bytes; /* 0..15 consumed on a match */
	__u32 pad;
};

/* l4 table: 65536 entries each for the five protocols with detail, by
 * destination port or type << 8 | code; then protocol alone; then, by
 * protocol, later fragments, whose ports nobody knows.
 */
#define L4_TCP 0
#define L4_UDP 65536
#define L4_SCTP 131072
#define L4_ICMP 196608
#define L4_ICMPV6 262144
#define L4_PROTOCOL 327680
#define L4_FRAGMENT 327936
#define L4_ENTRIES 328192

/* ---- events ---------------------------------------------------------------- */

enum event_kind {
	EVENT_LOG = 1,	/* a Log rule matched */
	EVENT_DENY = 2, /* dropped, sampled */
};

struct event {
	__u64 time; /* ktime, ns */
	__u32 generation;
	__u32 ifindex;
	__u32 rule;
	__u16 verdict; /* verdict id; of the last table that met a Log rule, if any did */
	__u8 kind; /* enum event_kind */
	__u8 reason;
	__u8 action;
	__u8 direction;
	__u8 version;
	__u8 protocol;
	__be16 source_port; /* or ICMP type << 8 | code in host order */
	__be16 destination_port;
	__u32 length;
	__be32 source[4]; /* IPv4: in the first word */
	__be32 destination[4];
	__u32 pad;
};

/* Rate limit of events, per CPU. */
struct event_budget {
	__u64 window; /* jiffies of the second that is being counted */
	__u32 used;
	__u32 pad;
	__u64 lost;
};

#define EVENTS_PER_SECOND 500 /* per CPU */

_Static_assert(sizeof(struct control) == 24, "control");
_Static_assert(sizeof(struct ifstate) == 16, "ifstate");
_Static_assert(sizeof(struct flow4_key) == 16, "flow4_key");
_Static_assert(sizeof(struct flow6_key) == 40, "flow6_key");
_Static_assert(sizeof(struct flow) == 48, "flow");
_Static_assert(sizeof(struct fragment_key) == 44, "fragment_key");
_Static_assert(sizeof(struct failsafe_key) == 24, "failsafe_key");
_Static_assert(sizeof(struct image_header) == 104, "image_header");
_Static_assert(sizeof(struct image_slot) == 32, "image_slot");
_Static_assert(sizeof(struct image_table) == 56, "image_table");
_Static_assert(sizeof(struct verdict) == 8, "verdict");
_Static_assert(sizeof(struct trie6_skip) == 48, "trie6_skip");
_Static_assert(sizeof(struct event) == 72, "event");

#endif
