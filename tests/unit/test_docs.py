"""The documents say what the code says: maps, fields, failsafes, reasons, verbs, links."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from pyagent.abi import Reason
from pyagent.cli.main import COMMANDS
from pyagent.manifest.failsafe import PROFILES, Failsafes
from pyagent.model import KINDS
from pyagent.model.config import (
    AutoHostEndpointConfig,
    FelixConfigurationSpec,
    HostEndpointTemplate,
    ProtoPort,
)
from pyagent.model.endpoint import EndpointPort, GlobalNetworkSetSpec, HostEndpointSpec
from pyagent.model.policy import EntityRule, PolicySpec, ProfileSpec, Rule, TierSpec

PROJECT = Path(__file__).parents[2]
DOCS = PROJECT / "docs"
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *DOCS.rglob("*.md")])
DECISIONS = sorted((DOCS / "adr").glob("[0-9]*.md"))
EXPLAINED = (
    AutoHostEndpointConfig, EndpointPort, EntityRule, FelixConfigurationSpec, GlobalNetworkSetSpec,
    HostEndpointSpec, HostEndpointTemplate, PolicySpec, ProfileSpec, ProtoPort, Rule, TierSpec,
)  # fmt: skip


def name(path: Path) -> str:
    return str(path.relative_to(PROJECT))


@pytest.fixture(scope="module")
def maps_doc() -> ModuleType:
    spec = importlib.util.spec_from_file_location("maps_doc", PROJECT / "scripts" / "maps_doc.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["maps_doc"] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def test_the_description_of_the_maps_is_not_stale(maps_doc: ModuleType) -> None:
    assert (DOCS / "maps.md").read_text() == maps_doc.render(), "docs/maps.md is stale: run `make docs`"


def test_a_map_without_a_comment_of_its_own_shares_the_one_above_it(maps_doc: ModuleType) -> None:
    text = """\
/* First
 * and more. */
DEFINE_MAP(A, __u32, struct x, 1, 0,
\t   one);
DEFINE_MAP(A, struct k, struct x, N, 0, two);
/* A structure. */
struct y {
\tint a;
};
/* Third. */
DEFINE_RING(8, three);
"""
    found = [(each.name, each.sentence, each.key) for each in maps_doc.declared_maps(text)]
    assert found == [
        ("one", "First and more.", "__u32"),
        ("two", "First and more.", "struct k"),
        ("three", "Third.", ""),
    ]


def test_every_map_that_the_loader_makes_is_described(maps_doc: ModuleType) -> None:
    text = (DOCS / "maps.md").read_text()
    assert [spec.name for spec in maps_doc.layout.map_specs() if f"\n## {spec.name}\n" not in text] == []


def test_every_field_of_the_resources_is_explained() -> None:
    text = (DOCS / "policy.md").read_text()
    fields = {
        f"{struct.__name__}.{field.encode_name}": field.encode_name
        for struct in EXPLAINED
        for field in msgspec.structs.fields(struct)
    }
    missing = [place for place, field in fields.items() if not re.search(rf"`[^`]*\b{field}\b[^`]*`", text)]
    assert missing == []


def rows(text: str, heading: str) -> Iterator[list[str]]:
    """The cells of the first table below ``heading``, without its head."""
    table = re.search(rf"^#+ {re.escape(heading)}\n(?:[^|\n].*\n|\n)*((?:\|.*\n)+)", text, re.MULTILINE)
    assert table, heading
    for line in table[1].splitlines()[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("profile", list(PROFILES))
def test_the_table_of_failsafes_is_the_list_in_the_code(profile: str) -> None:
    listed: dict[str, set[str]] = {"in": set(), "out": set()}
    column = 1 + 2 * list(PROFILES).index(profile)
    for row in rows((DOCS / "policy.md").read_text(), "Failsafes"):
        for direction, cell in zip(("in", "out"), row[column : column + 2], strict=True):
            if cell == "x":
                listed[direction].add(row[0])
    assert listed == {
        direction: as_texts(ports) for direction, ports in zip(("in", "out"), PROFILES[profile], strict=True)
    }


def as_texts(ports: Failsafes) -> set[str]:
    return {f"{port.protocol} {port.port}" for port in ports}


def test_every_reason_is_explained_with_its_number() -> None:
    text = (DOCS / "operations.md").read_text()
    explained = {row[1].strip("`"): row[0] for row in rows(text, "Reasons")}
    assert explained == {reason.name: str(reason.value) for reason in Reason if reason is not Reason.NONE}


def test_every_kind_is_named_in_the_policy_guide() -> None:
    text = (DOCS / "policy.md").read_text()
    assert [kind for kind in KINDS if kind not in text] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_verb_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text()
    if document == DOCS / "maps.md":  # which says itself what is not there yet
        text = re.sub(r"hepctl \w+[^.]*\(?.*?not in this release", "", text)
        text = re.sub(r"hepctl (rescue|observe)", "", text)
    blocks = re.findall(r"```.*?```", text, re.DOTALL) + re.findall(r"`(hepctl [^`]*)`", text)
    named = {verb for block in blocks for verb in re.findall(r"\bhepctl ([a-z][a-z-]*)", block)}
    assert named - set(COMMANDS) == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_make_target_that_a_document_names_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", document.read_text(), re.MULTILINE))
    assert named - targets == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_leads_somewhere(document: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        file, _, anchor = target.partition("#")
        if file.startswith(("http:", "https:")):
            continue
        path = (document.parent / file).resolve() if file else document
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []


def anchors(document: Path) -> set[str]:
    """The headings of a document as links name them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def test_decisions_are_numbered_without_gaps_and_listed() -> None:
    numbers = [int(path.name[:4]) for path in DECISIONS]
    assert numbers == list(range(1, len(numbers) + 1))
    listed = re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", (DOCS / "adr" / "README.md").read_text())
    assert listed == [path.name for path in DECISIONS]


@pytest.mark.parametrize("decision", DECISIONS, ids=name)
def test_a_decision_says_what_why_and_what_it_costs(decision: Path) -> None:
    text = decision.read_text()
    assert text.startswith(f"# {int(decision.name[:4])}. ")
    for part in ("**Decision.**", "**Why.**", "**Cost.**"):
        assert part in text, part
    assert len(text.splitlines()) <= 40, "half a page"
