"""bpf/abi.h and pyagent/abi.py say the same: compared through the types that clang sees."""

from __future__ import annotations

import re
import struct
from enum import IntEnum
from pathlib import Path

import pytest

from pyagent import abi
from pyagent.bpf import layout
from pyagent.bpf.btf import Btf, Member, Structure
from pyagent.bpf.loader import compile_clang, source_dir

ENUMERATIONS: dict[str, tuple[str, type[IntEnum]]] = {
    "direction": ("DIR_", abi.Direction),
    "action": ("ACTION_", abi.Action),
    "table_kind": ("TABLE_", abi.TableKind),
    "reason": ("REASON_", abi.Reason),
    "flow_origin": ("ORIGIN_", abi.FlowOrigin),
    "event_kind": ("EVENT_", abi.EventKind),
}
#: Structures whose format has another name, and those that Python never takes apart as a whole.
OTHER_NAMES = {"trie6_skip": "TRIE6_SKIP_NODE"}
WITHOUT_FORMAT = {"failsafe_ports", "event_budget"}


def without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)


def header() -> str:
    return without_comments((source_dir() / "abi.h").read_text())


def defined_numbers() -> list[str]:
    return re.findall(r"^#define ([A-Z]\w+) \S", header(), flags=re.MULTILINE)


def declared(keyword: str) -> list[str]:
    return re.findall(rf"^{keyword} (\w+) \{{", header(), flags=re.MULTILINE)


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Btf:
    """abi.h with one variable of each of its types, and an enumeration of all its #defines."""
    folder = tmp_path_factory.mktemp("abi")
    source = folder / "types.c"
    lines = [f'#include "{source_dir() / "abi.h"}"']
    lines += [f"struct {name} variable_{name};" for name in declared("struct")]
    lines += [f"enum {name} variable_{name};" for name in declared("enum")]
    numbers = ", ".join(f"DEFINED_{name} = ({name})" for name in defined_numbers())
    lines += [f"enum numbers {{ {numbers} }} variable_numbers;"]
    source.write_text("\n".join(lines) + "\n")
    compile_clang(folder / "types.o", source)
    return Btf.from_object(folder / "types.o")


def test_every_number_of_the_header_is_the_same_in_python(types: Btf) -> None:
    in_c = {
        name.removeprefix("DEFINED_"): value & 0xFFFFFFFF
        for name, value in types.enumerations()["numbers"].items()
    }
    in_python = {name: getattr(abi, name, None) for name in in_c}
    assert len(in_c) > 50
    assert in_python == in_c


def test_every_enumeration_of_the_header_is_the_same_in_python(types: Btf) -> None:
    assert set(declared("enum")) == set(ENUMERATIONS)
    for name, (prefix, python) in ENUMERATIONS.items():
        in_c = {
            constant.removeprefix(prefix): value for constant, value in types.enumerations()[name].items()
        }
        ends = {constant: value for constant, value in in_c.items() if constant in ("MAX", "KINDS")}
        members = {constant: value for constant, value in in_c.items() if constant not in ends}
        assert members == {member.name: member.value for member in python}, name
        for constant, value in ends.items():
            assert getattr(abi, prefix + constant) == value


@pytest.mark.parametrize("name", [name for name in declared("struct") if name not in WITHOUT_FORMAT])
def test_every_format_has_the_size_and_offsets_of_its_structure(types: Btf, name: str) -> None:
    python = getattr(abi, OTHER_NAMES.get(name, name.upper()), None)
    assert python is not None, f"pyagent/abi.py has no format for struct {name}"
    assert differences(types.structures()[name], python) == []


def test_names_of_image_fields_are_in_the_order_of_the_header(types: Btf) -> None:
    for name, fields in (("image_header", abi.IMAGE_HEADER_FIELDS), ("image_table", abi.IMAGE_TABLE_FIELDS)):
        in_c = [member.name for member in types.structures()[name].members if not is_padding(member)]
        assert in_c == list(fields), name


def test_the_failsafe_element_is_as_large_as_the_loader_makes_it(types: Btf) -> None:
    (spec,) = [spec for spec in layout.map_specs() if spec.name == "failsafe"]
    assert types.structures()["failsafe_ports"].size == spec.value_size


def test_the_loader_makes_the_maps_that_the_program_declares(tmp_path: Path) -> None:
    compile_clang(tmp_path / "firewall.o")
    found = Btf.from_object(tmp_path / "firewall.o").maps()
    declared_maps = {name.removeprefix("hep_"): shape for name, shape in found.items()}
    made = {spec.name: spec for spec in layout.map_specs()}
    assert set(made) == set(declared_maps)
    assert declared_maps.pop("scratch")["value_size"] <= made.pop("scratch").value_size
    for name, spec in made.items():
        wanted = declared_maps[name]
        have = (int(spec.type), spec.key_size, spec.value_size, spec.max_entries, spec.flags)
        keys = ("type", "key_size", "value_size", "max_entries", "map_flags")
        assert have == tuple(wanted[key] for key in keys), name


def test_a_wrong_format_is_noticed() -> None:
    members = (Member("a", 0, 4, 4, 1), Member("b", 4, 8, 2, 4), Member("pad", 12, 4, 4, 1))
    structure = Structure("sample", 16, members)
    assert differences(structure, struct.Struct("=I4H4x")) == []
    assert differences(structure, struct.Struct("=I8s4x")) == []
    assert differences(structure, struct.Struct("=I4H"))  # too short
    assert differences(structure, struct.Struct("=HH4H4x"))  # a split in two
    assert differences(structure, struct.Struct("=I2H8x"))  # half of b left out
    assert differences(structure, struct.Struct("=4x4HI"))  # padding in the wrong place


def is_padding(member: Member) -> bool:
    return member.name.startswith("pad")


def fields_of(layout_text: str) -> list[tuple[int, int]]:
    """Offset and size of every field of a struct format that starts with '='; padding left out."""
    out, at = [], 0
    for count_text, code in re.findall(r"(\d*)([a-zA-Z])", layout_text):
        count = int(count_text or 1)
        if code in "sx":
            out += [(at, count)] if code == "s" else []
            at += count
            continue
        size = struct.calcsize("=" + code)
        out += [(at + index * size, size) for index in range(count)]
        at += size * count
    return out


def differences(structure: Structure, python: struct.Struct) -> list[str]:
    """What a format gets wrong: its size, fields that are no member or element, members it leaves out."""
    out = [f"size {python.size}, not {structure.size}"] if python.size != structure.size else []
    allowed = set()
    for member in structure.members:
        allowed.add((member.offset, member.size))
        allowed |= {(member.offset + index * member.element, member.element) for index in range(member.count)}
    fields = fields_of(python.format)
    out += [f"no member at {at} of {size} bytes" for at, size in fields if (at, size) not in allowed]
    covered = {at + index for at, size in fields for index in range(size)}
    for member in structure.members:
        place = range(member.offset, member.offset + member.size)
        if not is_padding(member) and not covered.issuperset(place):
            out.append(f"{member.name} is left out")
    return out
