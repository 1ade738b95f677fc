"""docs/reliability.md names tests as evidence: each of them must exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "reliability.md").read_text()


def defined() -> set[str]:
    files = (ROOT / "tests").rglob("test_*.py")
    return {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}


def test_every_test_that_is_named_as_evidence_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) > 30
    assert named - defined() == set()


def test_every_file_that_is_named_exists() -> None:
    named = set(re.findall(r"`(tests/[\w/]+(?:\.py)?)`", TEXT))
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_acceptance_case_has_its_test_or_a_reason() -> None:
    section = TEXT.split("## Acceptance tests from others' pain")[1].split("\n## ")[0]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 39
    assert [case for case, evidence in rows if not evidence.strip()] == []
