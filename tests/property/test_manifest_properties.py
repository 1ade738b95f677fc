"""What holds for every text that is read as a manifest, and for every resource that is written as one."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyagent import manifest
from pyagent.manifest import ManifestError
from pyagent.model import KINDS

pytestmark = pytest.mark.property

LINES = [
    "apiVersion: projectcalico.org/v3\n",
    "kind: Tier\n",
    "kind: List\n",
    "kind: FelixConfiguration\n",
    "metadata:\n",
    "  name: a\n",
    "spec:\n",
    "  ingress:\n",
    "  - action: Allow\n",
    "    protocol: TCP\n",
    "items:\n",
    "- ",
]
_SYMBOLS = "--- { } [ ] a: b &x *x !!str !!binary <<: 'yes' yes 5 1.5 ~ : ? | %YAML ... # null .nan 0x é"
SYMBOLS = _SYMBOLS.split()
OTHERS = ["\n", "\t", " ", "\x00", "\x85", "\u2028", "\ud800", "labels: "]
TEXTS = st.one_of(
    st.text(),
    st.lists(st.sampled_from(LINES + SYMBOLS + OTHERS)).map("".join),
    st.lists(st.sampled_from(LINES)).map("".join),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
_FIELD_NAMES = """
apiVersion kind metadata name labels annotations spec status ingress egress action protocol source destination
nets ports selector types order node expectedIPs interfaceName controllers hostEndpoint templates addresses
failsafeInboundHostPorts items icmp type code services http paths exact upstream
"""
FIELDS = st.sampled_from(_FIELD_NAMES.split())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(FIELDS, inner, max_size=4)),
    max_leaves=12,
)
OBJECTS = st.builds(
    lambda cls, fields: {"apiVersion": cls.API_VERSION, "kind": cls.KIND, **fields},
    st.sampled_from(sorted(KINDS.values(), key=lambda cls: cls.KIND)),
    st.dictionaries(FIELDS.filter(lambda field: field not in {"kind", "apiVersion"}), VALUES, max_size=4),
)
SAFE_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**53), 2**53), SAFE_TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(SAFE_TEXT, inner, max_size=4)),
    max_leaves=15,
)


@given(TEXTS)
def test_any_text_gives_resources_or_problems(text: str) -> None:
    for document in manifest.load(text, "file"):
        assert (document.resource is None) == bool(document.problems)
        assert all(problem.line >= 1 and problem.reason and problem.path for problem in document.problems)
        assert all(str(problem) for problem in document.problems)


@given(content=st.binary())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_give_resources_or_problems(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    for document in manifest.load_paths([str(path)]):
        assert (document.resource is None) == bool(document.problems)


@given(OBJECTS)
def test_any_object_of_any_kind_is_decoded_or_refused_with_manifest_error(value: dict[str, Any]) -> None:
    with contextlib.suppress(ManifestError):
        resource = manifest.decode(value)
        assert manifest.default(resource) == resource
        assert manifest.decode(manifest.encode(resource)) == resource


@given(PLAIN)
def test_what_is_written_is_read_back_the_same(value: Any) -> None:
    wrapped = {"apiVersion": "v1", "value": value}
    for text in (manifest.dump_yaml(wrapped), manifest.dump_json(wrapped)):
        (document,) = manifest.reading.read(text)
        assert document.problems == ()
        assert document.value == wrapped


@given(st.integers(-(10**17), 10**17))
def test_durations_survive_printing(microseconds: int) -> None:
    duration = timedelta(microseconds=microseconds)
    with contextlib.suppress(ValueError):
        assert manifest.parse_duration(manifest.format_duration(duration)) == duration


@given(st.text())
def test_small_notations_raise_value_error_only(text: str) -> None:
    for parse in (manifest.parse_duration, manifest.parse_failsafes, manifest.parse_node_ports):
        with contextlib.suppress(ValueError):
            parse(text)
