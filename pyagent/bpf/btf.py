"""Read BTF, the type information in an object file: structures, enumerations, map definitions."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Final

from pyagent.errors import DriftError

_MAGIC: Final = 0xEB9F
_POINTER_BYTES: Final = 8


class Kind(IntEnum):
    """What a type is."""

    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


#: Bytes that follow a type's header, once and per element.
_EXTRA: Final = {
    Kind.INT: (4, 0), Kind.ARRAY: (12, 0), Kind.STRUCT: (0, 12), Kind.UNION: (0, 12), Kind.ENUM: (0, 8),
    Kind.FUNC_PROTO: (0, 8), Kind.VAR: (4, 0), Kind.DATASEC: (0, 12), Kind.DECL_TAG: (4, 0),
    Kind.ENUM64: (0, 12),
}  # fmt: skip
_ALIASES: Final = frozenset({Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG})


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a structure, in bytes; an array has ``count`` elements of ``element`` bytes each."""

    name: str
    offset: int
    size: int
    element: int
    count: int


@dataclass(frozen=True, slots=True)
class Structure:
    """A structure and its members in order; ``size`` in bytes."""

    name: str
    size: int
    members: tuple[Member, ...]


@dataclass(slots=True)
class _Type:
    name: str
    kind: int
    size_or_type: int
    elements: list[tuple[int, ...]] = field(default_factory=list)


class Btf:
    """All types of one object file."""

    def __init__(self, raw: bytes) -> None:
        magic, _, _, header, types_at, types_bytes, names_at, names_bytes = struct.unpack_from(
            "<HBBIIIII", raw
        )
        if magic != _MAGIC:
            raise DriftError("this is not BTF of a little-endian machine")
        self._names = raw[header + names_at : header + names_at + names_bytes]
        self._types = [_Type("void", 0, 0)]
        self._read(raw[header + types_at : header + types_at + types_bytes])

    @classmethod
    def from_object(cls, path: Path) -> Btf:
        """Read the types of an object file made with ``clang -g -target bpf``."""
        return cls(_elf_section(path.read_bytes(), ".BTF"))

    def structures(self) -> dict[str, Structure]:
        """Return every named structure."""
        named = [one for one in self._types if one.kind == Kind.STRUCT and one.name]
        return {one.name: Structure(one.name, one.size_or_type, self._members(one)) for one in named}

    def enumerations(self) -> dict[str, dict[str, int]]:
        """Return every named enumeration: its constants and their numbers."""
        return {
            one.name: {self._name(name): value for name, value in one.elements}
            for one in self._types
            if one.kind == Kind.ENUM and one.name
        }

    def maps(self) -> dict[str, dict[str, int]]:
        """Return the maps of the ``.maps`` section: type, key_size, value_size, max_entries, map_flags."""
        sections = [one for one in self._types if one.kind == Kind.DATASEC and one.name == ".maps"]
        variables = [self._types[number] for one in sections for number, _, _ in one.elements]
        return {one.name: self._map(self._resolve(one.size_or_type)) for one in variables}

    def _map(self, definition: _Type) -> dict[str, int]:
        """Decode libbpf's convention: numbers are lengths of arrays, types are targets of pointers."""
        out = {"key_size": 0, "value_size": 0, "map_flags": 0}
        for name_at, number, _ in definition.elements:
            name, target = self._name(name_at), self._resolve(self._resolve(number).size_or_type)
            if name in ("key", "value"):
                out[f"{name}_size"] = self._size(target)
            else:
                out[name] = target.elements[0][2]
        return out

    def _members(self, structure: _Type) -> tuple[Member, ...]:
        return tuple(self._member(*element) for element in structure.elements)

    def _member(self, name_at: int, number: int, bits: int) -> Member:
        target = self._resolve(number)
        size, element, count = self._size(target), self._size(target), 1
        while target.kind == Kind.ARRAY:
            inner, _, length = target.elements[0]
            target = self._resolve(inner)
            element, count = self._size(target), count * length
        return Member(self._name(name_at), bits // 8, size, element, count)

    def _size(self, one: _Type) -> int:
        if one.kind == Kind.PTR:
            return _POINTER_BYTES
        if one.kind == Kind.ARRAY:
            inner, _, length = one.elements[0]
            return self._size(self._resolve(inner)) * length
        return one.size_or_type

    def _resolve(self, number: int) -> _Type:
        one = self._types[number]
        while one.kind in _ALIASES:
            one = self._types[one.size_or_type]
        return one

    def _name(self, offset: int) -> str:
        return self._names[offset : self._names.index(b"\0", offset)].decode()

    def _read(self, raw: bytes) -> None:
        at = 0
        while at < len(raw):
            name_at, info, size_or_type = struct.unpack_from("<III", raw, at)
            kind, count = info >> 24 & 0x1F, info & 0xFFFF
            once, each = _EXTRA.get(Kind(kind), (0, 0))
            at += 12
            one = _Type(self._name(name_at), kind, size_or_type)
            if kind == Kind.ARRAY:
                one.elements = [struct.unpack_from("<III", raw, at)]
            elif kind in (Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.DATASEC):
                layout = "<IIi" if each == 12 else "<II"
                one.elements = [struct.unpack_from(layout, raw, at + index * each) for index in range(count)]
            self._types.append(one)
            at += once + each * count


def _elf_section(raw: bytes, wanted: str) -> bytes:
    """Return the content of a section of a 64-bit little-endian ELF file."""
    if raw[:6] != b"\x7fELF\x02\x01":
        raise DriftError("not a 64-bit little-endian object file")
    (table,) = struct.unpack_from("<Q", raw, 40)
    size, count, names_index = struct.unpack_from("<HHH", raw, 58)
    headers = [struct.unpack_from("<IIQQQQ", raw, table + index * size) for index in range(count)]
    names_at = headers[names_index][4]
    for header in headers:
        start = names_at + header[0]
        if raw[start : raw.index(b"\0", start)].decode() == wanted:
            return raw[header[4] : header[4] + header[5]]
    raise DriftError(f"the object file has no section {wanted}: was it compiled with -g?")
