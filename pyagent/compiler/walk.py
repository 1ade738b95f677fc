"""Looks packets up in an image exactly as the kernel's program does, from nothing but its bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pyagent import abi
from pyagent.abi import Action, TableKind
from pyagent.compiler.image import Image
from pyagent.errors import DriftError
from pyagent.model.packet import Packet

_PORT_BASES: Final = {6: abi.L4_TCP, 17: abi.L4_UDP, 132: abi.L4_SCTP}
_ICMP_BASES: Final = {1: abi.L4_ICMP, 58: abi.L4_ICMPV6}
_ALL6: Final = (1 << 128) - 1


@dataclass(frozen=True, slots=True)
class Walked:
    """What a table says of a packet, and the way there: classes of its fields, row and column of the cell."""

    action: Action
    verdict_id: int
    rule: int
    log: bool
    source_class: int
    destination_class: int
    l4_class: int
    source_port_class: int
    row: int
    column: int


def walk(
    image: Image | bytes | bytearray | memoryview, slot: int, kind: TableKind, packet: Packet
) -> Walked | None:
    """The verdict of one table of one endpoint; None if the endpoint has no such table.

    Raises DriftError if the bytes are no image of this ABI.
    """
    return Walker(image).walk(slot, kind, packet)


def l4_index(packet: Packet) -> int:
    """The packet's index in the l4 table."""
    if packet.fragment:
        return abi.L4_FRAGMENT + packet.protocol
    if packet.protocol in _PORT_BASES:
        return _PORT_BASES[packet.protocol] + packet.destination_port
    if packet.protocol in _ICMP_BASES:
        return _ICMP_BASES[packet.protocol] + (packet.icmp_type << 8 | packet.icmp_code)
    return abi.L4_PROTOCOL + packet.protocol


class Walker:
    """An image opened for look-ups; reads the bytes afresh at each, so it sees what is in a mapped image
    now."""

    def __init__(self, image: Image | bytes | bytearray | memoryview) -> None:
        self._bytes = memoryview(image.data if isinstance(image, Image) else image).cast("B")
        if len(self._bytes) < abi.IMAGE_HEADER.size:
            raise DriftError("these bytes are no image: shorter than its header")
        values = abi.IMAGE_HEADER.unpack_from(self._bytes)
        #: The header's fields by name.
        self.header: dict[str, int] = dict(zip(abi.IMAGE_HEADER_FIELDS, values, strict=True))
        if self.header["magic"] != abi.IMAGE_MAGIC or self.header["abi"] != abi.ABI_VERSION:
            raise DriftError("these bytes are no image of this version")
        if self.header["size"] > len(self._bytes):
            raise DriftError(f"the image is cut off: {len(self._bytes)} of {self.header['size']} bytes")
        whole = self._bytes[: self.header["size"]]
        self._u16, self._u32 = whole.cast("H"), whole.cast("I")

    def address_class(self, version: int, address: int) -> int:
        """The class of an address."""
        return self._class4(address) if version == 4 else self._class6(address)

    def address_flags(self, version: int, address: int) -> int:
        """ADDRESS_HOST and ADDRESS_NODE, as they apply."""
        return self._bytes[self.header["address_flags_at"] + self.address_class(version, address)]

    def walk(self, slot: int, kind: TableKind, packet: Packet) -> Walked | None:
        """See :func:`walk`."""
        table_at = self._table_at(slot, kind)
        return self._ask(table_at, packet) if table_at else None

    def is_redirected(self, slot: int, packet: Packet) -> bool:
        """Whether a Service takes elsewhere what is addressed to this host; ``packet`` has ports."""
        table_at = self._table_at(slot, abi.TABLE_KINDS)  # the member that follows the tables
        return bool(table_at) and self._ask(table_at, packet).action is Action.ALLOW

    def _table_at(self, slot: int, place: int) -> int:
        if not 0 <= slot < self.header["slots"]:
            return 0
        return self._u32[(self.header["slots_at"] + slot * abi.IMAGE_SLOT.size) // 4 + place]

    def _ask(self, table_at: int, packet: Packet) -> Walked:
        header, table = self.header, self._table(table_at)
        source = self.address_class(packet.version, packet.source)
        destination = self.address_class(packet.version, packet.destination)
        index = l4_index(packet)
        l4 = self._u16[header["l4_at"] // 2 + index]
        port = 0
        if header["sport_at"] and index < abi.L4_ICMP:
            port = self._u16[header["sport_at"] // 2 + packet.source_port]
        pair = (
            self._u32[table["by_source_at"] // 4 + source]
            + self._u32[table["by_destination_at"] // 4 + destination]
        )
        row = self._u16[table["combine_addresses_at"] // 2 + pair]
        pair = self._u32[table["by_l4_at"] // 4 + l4] + self._u32[table["by_source_port_at"] // 4 + port]
        column = self._u16[table["combine_l4_at"] // 2 + pair]
        verdict = self._u16[table["cells_at"] // 2 + self._cell(table, row, column)]
        action, flags, rule = abi.VERDICT.unpack_from(
            self._bytes, header["verdicts_at"] + verdict * abi.VERDICT.size
        )
        log = bool(flags & abi.VERDICT_LOG)
        return Walked(Action(action), verdict, rule, log, source, destination, l4, port, row, column)

    def _cell(self, table: dict[str, int], row: int, column: int) -> int:
        if not table["pages_at"]:
            return row * table["columns"] + column
        width = (table["columns"] + abi.PAGE_CELLS - 1) >> abi.PAGE_SHIFT
        page = row * width + (column >> abi.PAGE_SHIFT)
        run = self._u16[table["pages_at"] // 2 + page]
        return run << abi.PAGE_SHIFT | column & (abi.PAGE_CELLS - 1)

    def _table(self, at: int) -> dict[str, int]:
        return dict(zip(abi.IMAGE_TABLE_FIELDS, abi.IMAGE_TABLE.unpack_from(self._bytes, at), strict=True))

    # ---- the tries' nodes, for who goes through all of them ----

    @property
    def whole(self) -> memoryview:
        """The image's bytes, as many as its header says."""
        return self._bytes[: self.header["size"]]

    def root4(self) -> memoryview:
        """The entries of the IPv4 root."""
        root = self.header["trie4_at"] // 2
        return self._u16[root : root + abi.TRIE4_ROOT]

    def block4(self, entry: int) -> memoryview:
        """The entries of an IPv4 block."""
        block = self.header["trie4_at"] // 2 + abi.TRIE4_ROOT + (entry & ~abi.TRIE4_BLOCK) * 256
        return self._u16[block : block + 256]

    def branch6(self, entry: int) -> memoryview:
        """The entries of an IPv6 branch node."""
        node = self._node6(entry) // 4
        return self._u32[node : node + 256]

    def skip6(self, entry: int) -> tuple[int, int, int, int, int]:
        """An IPv6 skip node: mask and value of the next 128 bits, match, miss, bytes taken."""
        mask_high, mask_low, high, low, match, miss, taken = abi.TRIE6_SKIP_NODE.unpack_from(
            self._bytes, self._node6(entry)
        )
        return mask_high << 64 | mask_low, high << 64 | low, match, miss, taken

    def slot_tables(self, slot: int) -> dict[TableKind, dict[str, int]]:
        """The tables of an endpoint: their header fields."""
        places = abi.IMAGE_SLOT.unpack_from(self._bytes, self.header["slots_at"] + slot * abi.IMAGE_SLOT.size)
        return {kind: self._table(places[kind]) for kind in TableKind if places[kind]}

    def l4_class(self, index: int) -> int:
        """The class at an index of the l4 table."""
        return self._u16[self.header["l4_at"] // 2 + index]

    def source_port_class(self, port: int) -> int:
        """The class of a source port; 0 where no rule names any."""
        at = self.header["sport_at"]
        return self._u16[at // 2 + port] if at else 0

    def _node6(self, entry: int) -> int:
        return self.header["trie6_at"] + (entry & ~abi.TRIE6_KIND) * 8

    def _class4(self, address: int) -> int:
        root = self.header["trie4_at"] // 2
        entry = self._u16[root + (address >> 16)]
        for shift in (8, 0):
            if not entry & abi.TRIE4_BLOCK:
                break
            block = root + abi.TRIE4_ROOT + (entry & ~abi.TRIE4_BLOCK) * 256
            entry = self._u16[block + (address >> shift & 255)]
        return entry

    def _class6(self, address: int) -> int:
        entry = self.header["trie6_root"]
        for _ in range(abi.TRIE6_STEPS):
            node = self._node6(entry)
            if entry & abi.TRIE6_KIND == abi.TRIE6_BRANCH:
                entry = self._u32[node // 4 + (address >> 120)]
                address = address << 8 & _ALL6
            elif entry & abi.TRIE6_KIND == abi.TRIE6_SKIP:
                mask_high, mask_low, high, low, match, miss, taken = abi.TRIE6_SKIP_NODE.unpack_from(
                    self._bytes, node
                )
                if address & (mask_high << 64 | mask_low) != high << 64 | low:
                    return int(miss)
                entry = match
                address = address << (8 * taken) & _ALL6
            else:
                return entry
        if entry & abi.TRIE6_KIND:
            raise DriftError(f"the IPv6 table has a path of more than {abi.TRIE6_STEPS} nodes")
        return entry
