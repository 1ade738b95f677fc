"""docs/maps.md: every map of the kernel, from bpf/maps.h, the program's BTF and the loader's sizes.

``make docs`` writes it; tests/unit/test_docs.py fails when the file is not what this gives.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyagent import abi
from pyagent.bpf import layout
from pyagent.bpf.btf import Btf, Structure
from pyagent.bpf.loader import compile_clang, source_dir
from pyagent.bpf.maps import MapSpec
from pyagent.bpf.numbers import F_MMAPABLE, F_NO_PREALLOC, PER_CPU, MapType
from pyagent.cli.main import COMMANDS

DOCUMENT: Final = Path(__file__).resolve().parents[1] / "docs" / "maps.md"

_COMMENT_OR_MAP: Final = re.compile(
    r"/\*(?P<comment>.*?)\*/"
    r"|^DEFINE_MAP\((?P<map>[^;]*)\);"
    r"|^DEFINE_RING\((?P<ring>[^;]*)\);"
    r"|^\w[^;]*\{",  # a definition that is no map: the comment above was its own
    re.DOTALL | re.MULTILINE,
)
_FLAGS: Final = {F_MMAPABLE: "mapped into the agent", F_NO_PREALLOC: "grows with its entries"}
#: What an element of a hash costs the kernel besides key and value, and a bucket; in bytes.
_HASH_ELEMENT, _HASH_BUCKET = 48, 16
_POINTER: Final = 8

_INTRODUCTION: Final = f"""\
# The maps

Written by `make docs` from `bpf/maps.h`, the program's BTF and the loader's sizes; a test fails when it is
stale. Edit those, not this.

All maps of one agent are pinned in `/sys/fs/bpf/autohep/<instance>/v{abi.ABI_VERSION}/maps/<name>`;
`<instance>` is `node` unless `hepctl agent --instance` says otherwise. The kernel lists them as
`{layout.MAP_PREFIX}<name>`. A map that is pinned already is used again, with what is in it, if its type,
sizes, capacity and flags are the expected ones; otherwise the agent refuses to start and says what differs. A
change of any layout changes `ABI_VERSION`, and with it the directory.

Sizes are bytes, memory is what the kernel accounts for. Integers are in the host's byte order unless their
type in `bpf/abi.h` is `__be16` or `__be32`.

Each map's sentence is the one above it in `maps.h`, where "here" is the BPF program.
"""


@dataclass(frozen=True, slots=True)
class Declared:
    """A map as maps.h declares it: the sentence above it, and the C types of key and value."""

    name: str
    sentence: str
    key: str
    value: str


def declared_maps(text: str) -> Iterator[Declared]:
    """Every map of ``text`` (maps.h) in its order; maps below one comment share it."""
    sentence = ""
    for found in _COMMENT_OR_MAP.finditer(text):
        if found["comment"] is not None:
            sentence = _sentence(found["comment"])
        elif found["map"] is not None:
            _, key, value, _, _, name = (part.strip() for part in found["map"].split(","))
            yield Declared(name, sentence, key, value)
        elif found["ring"] is not None:
            yield Declared(found["ring"].split(",")[1].strip(), sentence, "", "struct event")


def _sentence(comment: str) -> str:
    lines = (line.strip().removeprefix("*").strip() for line in comment.splitlines())
    return " ".join(line for line in lines if line)


def memory(spec: MapSpec) -> tuple[int, int]:
    """Bytes that a map takes when full: once, and besides that for every CPU."""
    entries, key, value = spec.max_entries or 1, _eights(spec.key_size), _eights(spec.value_size)
    if spec.type in PER_CPU:
        return entries * _POINTER, entries * value
    if spec.type in (MapType.HASH, MapType.LRU_HASH):
        buckets = 1 << (entries - 1).bit_length()
        return entries * (_HASH_ELEMENT + key + value) + buckets * _HASH_BUCKET, 0
    if spec.type is MapType.RINGBUF:
        return entries, 0
    return entries * value, 0


def _eights(size: int) -> int:
    return size + 7 & ~7


def _memory_text(spec: MapSpec) -> str:
    if spec.type is MapType.LPM_TRIE:
        return "by use"
    fixed, per_cpu = memory(spec)
    parts = [_size(fixed)] if fixed >= 1024 or not per_cpu else []
    return " + ".join([*parts, f"{_size(per_cpu)} a CPU"] if per_cpu else parts)


def _size(count: int) -> str:
    for unit, width in (("MiB", 20), ("KiB", 10)):
        if count >= 1 << width:
            return f"{count / (1 << width):.3g} {unit}"
    return f"{count} B"


def _type_text(spec: MapSpec) -> str:
    remarks = [text for flag, text in _FLAGS.items() if (spec.flags or 0) & flag]
    return spec.type.name + (f", {', '.join(remarks)}" if remarks else "")


def _c_type(text: str, size: int) -> str:
    return f"`{text}` ({size})" if text else "none"


def _missing_verbs(sentence: str) -> str:
    """Remarks on verbs that the sentence names and this release does not have."""
    named = dict.fromkeys(re.findall(r"hepctl ([a-z]+)", sentence))
    missing = [f"`hepctl {verb}`" for verb in named if verb not in COMMANDS]
    return f" ({' and '.join(missing)} not in this release.)" if missing else ""


def _overview(maps: Iterable[Declared], specs: dict[str, MapSpec]) -> Iterator[str]:
    yield "| map | type | key | value | entries | memory |"
    yield "|---|---|---|---|---|---|"
    for one in maps:
        spec = specs[one.name]
        value = one.value if one.name != "events" else ""
        cells = (
            f"[{one.name}](#{one.name})",
            _type_text(spec),
            _c_type(one.key, spec.key_size),
            "records of `struct event`" if not value else _c_type(value, spec.value_size),
            f"{spec.max_entries:,}" if spec.type is not MapType.RINGBUF else f"{spec.max_entries:,} bytes",
            _memory_text(spec),
        )
        yield f"| {' | '.join(cells)} |"


def _fields(structure: Structure) -> Iterator[str]:
    yield "| at | bytes | field |"
    yield "|---|---|---|"
    for member in structure.members:
        count = f"[{member.count}]" if member.count > 1 else ""
        yield f"| {member.offset} | {member.size} | `{member.name}{count}` |"


def _sections(maps: Iterable[Declared], structures: dict[str, Structure]) -> Iterator[str]:
    shown: dict[str, str] = {}
    for one in maps:
        yield f"\n## {one.name}\n\n{one.sentence}{_missing_verbs(one.sentence)}"
        for role, text in (("Key", one.key), ("Value" if one.key else "Record", one.value)):
            name = text.removeprefix("struct ")
            if name == text or name not in structures:
                continue
            if name in shown:
                yield f"\n{role} `{text}`: see [{shown[name]}](#{shown[name]})."
                continue
            shown[name] = one.name
            structure = structures[name]
            yield f"\n{role} `{text}`, {structure.size} bytes:\n"
            yield from _fields(structure)


def render() -> str:
    """The whole document. Compiles the program by clang for its BTF, which takes a moment."""
    with tempfile.TemporaryDirectory() as folder:
        compile_clang(Path(folder) / "firewall.o")
        structures = Btf.from_object(Path(folder) / "firewall.o").structures()
    maps = list(declared_maps((source_dir() / "maps.h").read_text(encoding="utf-8")))
    specs = {spec.name: spec for spec in layout.map_specs()}
    fixed = sum(memory(spec)[0] for spec in specs.values())
    per_cpu = sum(memory(spec)[1] for spec in specs.values())
    total = (
        f"\nTogether {_size(fixed)}, and {_size(per_cpu)} a CPU, nearly all of it flow tables and images:"
        "\n`FLOWS_MAX` and `IMAGE_BYTES` in `bpf/abi.h`."
    )
    lines = [_INTRODUCTION, *_overview(maps, specs), total, *_sections(maps, structures)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(render(), encoding="utf-8")
    sys.stdout.write(f"wrote {DOCUMENT}\n")
