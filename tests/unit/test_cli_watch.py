"""``hepctl get --watch``: what is there, then every change."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from pyagent.datastore import EventType, WatchEvent
from pyagent.errors import Problem
from pyagent.model import Metadata, Node


def node(name, **labels):
    return Node(api_version="v1", kind="Node", metadata=Metadata(name=name, labels=labels))


def event(kind, resource):
    return WatchEvent(EventType[kind], "Node", resource.name, "", resource)


BROKEN = Problem("document", "cannot be read", file="bb.yaml")
SCRIPT = [
    event("ADDED", node("bb")),
    event("ADDED", node("a", role="web")),
    WatchEvent(EventType.SYNCED),
    event("MODIFIED", node("a", role="web")),
    event("ADDED", node("long-name")),
    WatchEvent(EventType.ERROR, "Node", "bb", "", None, (BROKEN,)),
    event("DELETED", node("bb")),
]


class Scripted:
    """A datastore whose watch says what it was told to."""

    async def watch(self, kinds: Sequence[str]):
        assert list(kinds) == ["Node"]
        for each in SCRIPT:
            yield each


@pytest.fixture
def watch(hepctl, monkeypatch):
    monkeypatch.setattr("pyagent.cli.settings.Settings.open_datastore", lambda _settings: Scripted())
    return lambda *words: hepctl("get", *words, "-w")


def test_table_begins_with_what_is_there_and_goes_on_with_changes(watch):
    result = watch("nodes")
    assert result.stdout.split("\n") == [
        "NAME   ",
        "a      ",
        "bb     ",
        "a      ",
        "long-name   ",
        "bb          ",
        "",
    ]
    assert result.stderr == "bb.yaml: error with field document (cannot be read)\n"


def test_events_are_told_on_request(watch):
    lines = watch("nodes", "--output-watch-events").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["EVENT", "NAME"],
        ["ADDED", "a"],
        ["ADDED", "bb"],
        ["MODIFIED", "a"],
        ["ADDED", "long-name"],
        ["DELETED", "bb"],
    ]


def test_only_the_named_or_selected_ones_are_shown(watch):
    assert watch("node", "bb", "-oname").stdout == "node/bb\nnode/bb\n"
    assert watch("nodes", "-l", "role=web", "-oname").stdout == "node/a\nnode/a\n"


def test_objects_follow_each_other_as_documents(watch):
    documents = watch("nodes", "-l", "role=web", "-o", "yaml").stdout.split("---\n")
    assert len(documents) == 3
    assert documents[1] == documents[2]
    told = watch("node", "long-name", "-o", "json", "--output-watch-events").stdout
    assert json.loads(told)["type"] == "ADDED"
    assert json.loads(told)["object"]["metadata"]["name"] == "long-name"


def test_custom_columns_are_kept_in_line(watch):
    lines = watch(
        "nodes", "-o", "custom-columns=N:.metadata.name,R:.metadata.labels.role"
    ).stdout.splitlines()
    assert lines[0].split() == ["N", "R"]
    assert lines[1].split() == ["a", "web"]
    assert lines[4].split() == ["long-name", "<none>"]


def test_one_kind_at_a_time(watch):
    result = watch("node/a", "hep/b")
    assert result.exit_code == 2
    assert "one kind" in result.stderr
