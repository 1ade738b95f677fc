"""Faults of the BPF program."""

from __future__ import annotations

from tests.mutation.fault import Fault

_FOLDER = "tests/dataplane"
FRAMES = f"{_FOLDER}/test_program_frames.py"
EXEMPT = f"{_FOLDER}/test_program_exempt.py"
POLICY = f"{_FOLDER}/test_program_policy.py"
STATE = f"{_FOLDER}/test_program_state.py"
FRAGMENTS = f"{_FOLDER}/test_program_fragments.py"
REPORTS = f"{_FOLDER}/test_program_reports.py"
PAGES = f"{_FOLDER}/test_program_pages.py"


def _program(file: str, what: str, old: str, new: str, *tests: str) -> Fault:
    return Fault(what, f"bpf/{file}", old, new, tests)


PACKET = (
    _program("packet.h", "one VLAN tag only", "tag < 2; tag++", "tag < 1; tag++", FRAMES),
    _program(
        "packet.h",
        "the old QinQ type unknown",
        "ETHERTYPE_QINQ_OLD 0x9100",
        "ETHERTYPE_QINQ_OLD 0x9200",
        FRAMES,
    ),
    _program(
        "packet.h",
        "IPv4 options ignored",
        "header = (ip->version_ihl & 15) * 4;\n\ttotal",
        "header = 20;\n\ttotal",
        FRAMES,
    ),
    _program("packet.h", "options beyond the packet", "|| total < header)", "|| total < 20)", FRAMES),
    _program(
        "packet.h",
        "a first fragment taken for a later",
        "if (fragment & 0x1fff) {",
        "if (fragment & 0x3fff) {",
        FRAMES,
    ),
    _program("packet.h", "extension headers of 8 bytes", "at += 8 + header[1] * 8;", "at += 8;", FRAMES),
    _program(
        "packet.h",
        "a fragment header of 16 bytes",
        "next = header[0];\n\t\t\tat += 8;",
        "next = header[0];\n\t\t\tat += 16;",
        FRAMES,
    ),
    _program(
        "packet.h", "seven extension headers", "#define EXTENSIONS_MAX 8", "#define EXTENSIONS_MAX 7", FRAMES
    ),
    _program(
        "packet.h",
        "IPv6 first fragments taken for whole",
        "(fragment & ~6) == 0",
        "(fragment & ~7) == 0",
        FRAGMENTS,
    ),
    _program(
        "packet.h",
        "UDP's table for SCTP",
        "PROTO_UDP ? L4_UDP : L4_SCTP",
        "PROTO_UDP ? L4_SCTP : L4_UDP",
        POLICY,
    ),
    _program(
        "packet.h",
        "half a TCP header is enough",
        "packet->l4_length < 20 ||",
        "packet->l4_length < 10 ||",
        FRAMES,
    ),
    _program("packet.h", "any IPv6 version", "(*(__u8 *)ip >> 4) != 6", "(*(__u8 *)ip >> 4) == 9", FRAMES),
    _program(
        "packet.h",
        "a SYN-ACK opens too",
        "(packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN",
        "(packet->tcp_flags & TCP_SYN) == TCP_SYN",
        STATE,
    ),
)

MEMORY = (
    _program("flow.h", "replies need an approval", "return flow->opener != direction ||", "return", STATE),
    _program(
        "flow.h",
        "one approval for all endpoints",
        "flow->approved >> (endpoint & 63) & 1;",
        "flow->approved != 0;",
        STATE,
    ),
    _program(
        "flow.h",
        "UDP's time-outs exchanged",
        "FLOW_REPLIED ? IDLE_UDP_REPLIED : IDLE_UDP",
        "FLOW_REPLIED ? IDLE_UDP : IDLE_UDP_REPLIED",
        STATE,
    ),
    _program("flow.h", "a reset connection lives on", "if (state & FLOW_RST ||", "if (state & 64 ||", STATE),
    _program(
        "flow.h",
        "a ping allows the other one",
        "*pad = 1 + (reply ? !direction : direction);",
        "*pad = 1;",
        STATE,
    ),
    _program(
        "flow.h",
        "echo without identifier",
        "*local_port = packet->source_port;\n\t\t*remote_port = request;",
        "*local_port = 0;\n\t\t*remote_port = request;",
        STATE,
    ),
    _program("flow.h", "flows grow old in use", "if (flow->last != now)\n\t\tflow->last = now;", "", STATE),
    _program(
        "fragments.h", "every datagram allowed", ".action = action", ".action = ACTION_ALLOW", FRAGMENTS
    ),
    _program(
        "fragments.h", "identification ignored", "key->id = packet->fragment_id;", "key->id = 0;", FRAGMENTS
    ),
    _program(
        "fragments.h",
        "IPv6 fragments by next header",
        "ipv6 ? 0 : packet->protocol",
        "packet->protocol",
        FRAGMENTS,
    ),
    _program(
        "fragments.h", "all interfaces alike", "key->ifindex = ifindex;", "key->ifindex = 0;", FRAGMENTS
    ),
    _program(
        "related.h",
        "the error's own direction",
        "direction == DIR_INGRESS ? DIR_EGRESS : DIR_INGRESS",
        "direction",
        STATE,
    ),
    _program(
        "related.h", "time exceeded is no error", "packet->icmp_type == 11", "packet->icmp_type == 10", STATE
    ),
    _program(
        "related.h",
        "errors about anybody's packets",
        "differ |= outer->destination[word] ^ inner->source[word];",
        "differ |= 0;",
        STATE,
    ),
    _program(
        "related.h",
        "inner fragments are read",
        "bpf_ntohs(ip->fragment) & 0x1fff",
        "bpf_ntohs(ip->fragment) & 0",
        STATE,
    ),
)

STAGES = (
    _program(
        "failsafe.h",
        "one list for both directions",
        "index += list * FAILSAFE_OUTBOUND;",
        "index += 0 * list;",
        EXEMPT,
    ),
    _program("failsafe.h", "IPv6 networks by 32 bits", "(ipv6 ? 128 : 32)", "(ipv6 ? 32 : 32)", EXEMPT),
    _program(
        "failsafe.h",
        "limited ports open to all",
        "return bpf_map_lookup_elem(MAP(failsafe_nets), key);",
        "return true;",
        EXEMPT,
    ),
    _program("image.h", "the wrong byte of an IPv4 address", "(ip >> 8 & 255)", "(ip & 255)", POLICY),
    _program("image.h", "IPv6 skips lose the low half", "over = -(shift >> 6 & 1);", "over = 0;", POLICY),
    _program(
        "image.h",
        "node ports of TCP for all",
        "(packet->l4 >> 16) * 8192ULL + (port >> 3)",
        "(port >> 3)",
        POLICY,
    ),
    _program(
        "image.h",
        "a row of a cell fewer pages",
        "(columns + PAGE_CELLS - 1) >> PAGE_SHIFT",
        "columns >> PAGE_SHIFT",
        PAGES,
    ),
    _program("image.h", "always a row's first page", "(column >> PAGE_SHIFT)) *", "0) *", PAGES),
    _program("image.h", "always a run's first cell", "(column & (PAGE_CELLS - 1))", "0", PAGES),
    _program("image.h", "tables with pages read as whole", "\tif (pages) {", "\tif (0) {", PAGES),
    _program("image.h", "tunnels by protocol alone", "(!(tunnel >> 16) ||", "(1 ||", EXEMPT),
    _program(
        "image.h",
        "source ports ignored",
        "if (sport_at && packet->l4 < L4_ICMP)",
        "if (sport_at && packet->l4 < 0)",
        POLICY,
    ),
    _program("firewall.c", "tunnels for strangers", "there & ADDRESS_NODE &&", "there >= 0 &&", EXEMPT),
    _program(
        "firewall.c", "redirects meet policy", "packet->icmp_type <= 137", "packet->icmp_type <= 136", EXEMPT
    ),
    _program(
        "firewall.c",
        "forwarded to a pod is own",
        "if (!ingress && is_local && workload)",
        "if (!ingress && workload)",
        POLICY,
    ),
    _program(
        "firewall.c", "failsafes for forwarded packets", "if (failsafe && is_local)", "if (failsafe)", POLICY
    ),
    _program(
        "firewall.c", "preDNAT before failsafes", "if (ingress && !failsafe) {", "if (ingress) {", POLICY
    ),
    _program(
        "firewall.c", "pods' packets never dropped", "(flags & IMAGE_POD_TO_HOST_DROP)", "(flags & 0)", POLICY
    ),
    _program(
        "firewall.c",
        "node ports count as local",
        "ingress ? to_host && !node_port",
        "ingress ? to_host",
        POLICY,
    ),
    _program(
        "firewall.c", "untracked policy for pods", "!(scene->interface->flags & IF_WORKLOAD)", "1", POLICY
    ),
    _program(
        "firewall.c",
        "the exclusion forgotten",
        "scene.interface->flags & IF_EXCLUDED",
        "scene.interface->flags & 0",
        POLICY,
    ),
    _program(
        "firewall.c",
        "the first drop reason passes",
        "return reason >= REASON_POLICY_DENY;",
        "return reason > REASON_POLICY_DENY;",
        POLICY,
    ),
    _program(
        "firewall.c",
        "all forwarded flows kept",
        "*track = in || out || host_source;",
        "*track = true;",
        STATE,
    ),
    _program(
        "firewall.c",
        "no flows of masqueraded pods",
        "*track = in || out || host_source;",
        "*track = in || out;",
        STATE,
    ),
    _program(
        "firewall.c",
        "another interface's state",
        "interface->ifindex == ifindex",
        "interface->ifindex",
        REPORTS,
    ),
    _program(
        "firewall.c",
        "always the same side's slot",
        "scene.interface->slot[scene.generation & 1]",
        "scene.interface->slot[0]",
        REPORTS,
    ),
    _program(
        "image.h",
        "an early table's Log forgotten",
        "__u8 flags = outcome->flags | next->flags;",
        "__u8 flags = next->flags;",
        REPORTS,
    ),
    _program(
        "events.h",
        "all counted as ingress",
        "counters->packets[direction][",
        "counters->packets[0][",
        REPORTS,
    ),
    _program("events.h", "bytes not counted", "hits->bytes += length;", "hits->bytes += 1;", REPORTS),
    _program(
        "events.h",
        "events without limit",
        "budget->used >= EVENTS_PER_SECOND",
        "budget->used >= 1000000",
        REPORTS,
    ),
)

PROGRAM = (*PACKET, *MEMORY, *STAGES)
