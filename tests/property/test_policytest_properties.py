"""Whatever a test file says, it is read or refused with its file's name; nothing else ever happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyagent.errors import ManifestError
from pyagent.policytest import load_suites

NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "n1"},
    "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
}
WORDS = (
    "n1",
    "external",
    "10.0.0.1",
    "10.9.0.1",
    "fd00::1",
    "::",
    "TCP",
    "ICMP",
    "ICMPv6",
    "New",
    "Related",
    "",
)
WORDS += (
    "Established",
    "Allow",
    "Deny",
    "ingress",
    "egress",
    "forward",
    "eth0",
    "lo",
    "failsafe",
    "profile",
    "é/9",
)
scalars = st.one_of(
    st.sampled_from(WORDS), st.integers(-1, 70000), st.booleans(), st.none(), st.text(max_size=6)
)
packets = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        (
            "protocol", "source", "sourcePort", "destination", "destinationPort", "icmpType", "icmpCode",
            "ipVersion", "tcpFlags", "fragment", "other",
        ),
        scalars,
    ),
)  # fmt: skip
cases = st.fixed_dictionaries(
    {"packet": packets | scalars},
    optional=dict.fromkeys(
        ("name", "node", "interface", "toInterface", "direction", "flow", "expect", "by", "other"), scalars
    ),
)
facts = st.dictionaries(
    st.sampled_from(("n1", "n2")),
    st.fixed_dictionaries(
        {},
        optional={
            "interfaces": st.lists(st.dictionaries(st.sampled_from(("name", "addresses", "x")), scalars)),
            "pods": st.lists(st.dictionaries(st.sampled_from(("interface", "addresses")), scalars)),
            "broadcasts": st.lists(scalars) | scalars,
        },
    )
    | scalars,
)
documents = st.fixed_dictionaries(
    {"cases": st.lists(cases, max_size=3) | scalars},
    optional={
        "resources": st.lists(st.just(NODE) | st.sampled_from(WORDS) | st.integers(), max_size=2) | scalars,
        "labels": st.dictionaries(
            st.sampled_from(("n1", "n2")), st.dictionaries(st.text(max_size=3), scalars)
        ),
        "facts": facts,
    },
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tests") / "t.yaml"


def read(file: Path, document: Any) -> int:
    """How many cases a file with the document has; -1: it is refused, -2: and nobody knows which file."""
    file.write_text(json.dumps(document), encoding="utf-8")
    try:
        return sum(len(suite.cases) for suite in load_suites(str(file)))
    except ManifestError as error:
        return -1 if all(problem.file for problem in error.problems) else -2


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents)
def test_any_document_is_read_or_refused_by_name(file: Path, document: Any) -> None:
    assert read(file, document) >= -1


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(packets, st.sampled_from(("ingress", "egress", "forward")), st.sampled_from(("New", "Related")))
def test_any_packet_is_read_or_refused_by_name(
    file: Path, packet: dict[str, Any], direction: str, flow: str
) -> None:
    case = {
        "name": "a",
        "node": "n1",
        "direction": direction,
        "flow": flow,
        "expect": "Deny",
        "packet": packet,
    }
    assert read(file, {"resources": [NODE], "cases": [case]}) in {-1, 1}


def test_a_good_document_is_read_and_a_bad_one_refused(file: Path) -> None:
    packet = {"protocol": "UDP", "source": "external", "destination": "n1", "destinationPort": 1}
    case = {"name": "a", "direction": "ingress", "expect": "Deny", "packet": packet}
    assert read(file, {"resources": [NODE], "cases": [case]}) == 1
    assert read(file, {"resources": [NODE], "cases": [{**case, "expect": "Perhaps"}]}) == -1
