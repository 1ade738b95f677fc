"""What every command that looks into a node says where there is nothing to see, or something else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from pyagent import abi
from pyagent.bpf import syscall
from pyagent.bpf.layout import map_specs
from pyagent.bpf.loader import PROGRAMS
from pyagent.bpf.maps import Map, MapSpec
from pyagent.bpf.numbers import MapType
from pyagent.bpf.pins import Pins
from pyagent.cli.main import cli
from tests.dataplane.test_inspection_doc import commands
from tests.support.kernel import Kernel
from tests.support.node import Node
from tests.support.policy_world import allow, policy

COMMANDS = (
    ("bpf", "maps"), ("bpf", "counters", "dump"), ("bpf", "counters", "flush"), ("bpf", "conntrack", "dump"),
    ("bpf", "conntrack", "stats"), ("bpf", "conntrack", "clean"), ("bpf", "conntrack", "remove", "--all"),
    ("bpf", "failsafe", "dump"), ("bpf", "ifstate", "dump"), ("bpf", "image"),
    ("bpf", "image", "diff", "live", "live"), ("bpf", "lookup", "10.0.0.1"), ("bpf", "lookup", "22/tcp"),
    ("bpf", "ipsets", "dump"), ("bpf", "routes", "dump"), ("bpf", "profile", "--for", "10ms"),
    ("bpf", "policy", "dump", "eth0"), ("observe", "--last", "1"), ("observe", "--for", "10ms"),
    ("top", "--count", "1", "--interval", "10ms"), ("rescue", "status"), ("rescue", "close"),
    ("rescue", "open", "--for", "1m"), ("report", "hits"), ("report", "unused"), ("node", "status"),
)  # fmt: skip
#: Reads manifests or the datastore, nothing of the node.
ELSEWHERE = ("report", "shadowed")


@pytest.fixture
def node(kernel: Kernel, tmp_path: Path) -> Iterator[Node]:
    found = Node(kernel, tmp_path / "state")
    found.put(policy("gate", allow()))
    (found.state.path / "status.json").write_text('{"node": "n1", "version": "1", "instance": "i", "pid": 1}')
    yield found
    kernel.withdraw()


@pytest.fixture
def other(pins: Pins) -> Pins:
    """An instance whose directories are there, and nothing in them."""
    pins.create()
    return pins


def asked(node: Node, words: tuple[str, ...], pins: Pins) -> Result:
    return node.hepctl(*words, "--instance", pins.instance, "--pins", str(pins.base))


def assert_refused(result: Result, message: str) -> None:
    """One message on standard error, exit code 1, and nothing else."""
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_the_list_has_every_command_that_looks_into_a_node() -> None:
    known = {words for words in commands(cli) if words != ELSEWHERE} | {("top",), ("node", "status")}
    assert {words for words in known if not any(each[: len(words)] == words for each in COMMANDS)} == set()


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_without_a_firewall_each_command_says_so_and_fails(words: tuple[str, ...], node: Node) -> None:
    control = node.hepctl(*words)
    if words == ("node", "status"):
        assert "problem:   no agent runs" in control.stdout, "the control: it looks, and finds that"
    else:
        assert control.exit_code == 0, "the control: with a firewall it does not"
    result = node.hepctl(*words, "--instance", "nothing-here")
    assert_refused(result, "no firewall of instance nothing-here is loaded here")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_missing_pin_is_named(words: tuple[str, ...], other: Pins, node: Node) -> None:
    assert_refused(asked(node, words, other), "is missing: start the agent again")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_pin_of_something_else_is_damaged(words: tuple[str, ...], other: Pins, node: Node) -> None:
    with Map.create(MapSpec("other", MapType.HASH, 4, 9, 10, 0)) as something:
        for path in (
            *(other.map(each.name) for each in map_specs()),
            *(other.program(name) for name in PROGRAMS),
        ):
            syscall.obj_pin(something.fd, path)
    assert_refused(asked(node, words, other), "is damaged: ")


def test_a_pin_of_another_map_says_what_differs_and_one_of_a_program_that_it_is_no_map(
    other: Pins, node: Node
) -> None:
    with Map.create(MapSpec("other", MapType.HASH, 4, 8, 10, 0)) as something:
        syscall.obj_pin(something.fd, other.map("failsafe"))
    result = asked(node, ("bpf", "failsafe", "dump"), other)
    assert_refused(result, "it is not the map failsafe (type is 1, not 2")
    program = syscall.obj_get(node.kernel.pins.program("tc_ingress"))
    try:
        syscall.obj_pin(program, other.map("control"))
    finally:
        os.close(program)
    assert_refused(asked(node, ("bpf", "image"), other), "is damaged")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_pins_of_another_version_are_refused_by_name(words: tuple[str, ...], pins: Pins, node: Node) -> None:
    older = Pins(f"{pins.instance}old", pins.base, abi.ABI_VERSION + 7)
    older.create()
    try:
        message = f"loaded with ABI version {abi.ABI_VERSION + 7}; this hepctl speaks"
        assert_refused(asked(node, words, older), message)
    finally:
        older.remove()


def test_the_doctor_has_the_same_messages_as_problems(other: Pins, node: Node) -> None:
    store = ("--datastore", str(node.state.path / "store"))
    good = node.hepctl("doctor", *store)
    assert "is missing" not in good.stdout, "the control: all pins are there"
    found = asked(node, ("doctor", *store), other)
    assert (found.exit_code, "maps/control is missing" in found.stdout) == (1, True)
    found = node.hepctl("doctor", *store, "--instance", "nothing-here")
    assert (found.exit_code, "no firewall of instance nothing-here" in found.stdout) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        ("bpf", "policy", "dump"),
        ("bpf", "counters", "dump", "--iface"),
        ("observe", "--for", "10ms", "--interface"),
    ],
    ids=" ".join,
)
def test_an_unknown_interface_is_refused(words: tuple[str, ...], node: Node) -> None:
    assert node.hepctl(*words, "eth0").exit_code == 0, "the control"
    assert_refused(node.hepctl(*words, "eth7"), "there is no interface eth7 here (there are: ")
