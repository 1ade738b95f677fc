"""The small notations: YAML scalars and bounds, durations, failsafes, node ports."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pyagent.manifest import NodePorts, format_duration, parse_duration, parse_failsafes, parse_node_ports
from pyagent.manifest.building import MAX_DEPTH
from pyagent.manifest.reading import read
from pyagent.model.config import ProtoPort

SCALARS = {
    "5": 5, "-5": -5, "+5": 5, "0": 0, "0x1F": 31,
    "1.5": 1.5, "1e3": 1000.0, ".5": 0.5, "-.inf": float("-inf"),
    "yes": True, "On": True, "true": True, "NO": False, "off": False, "y": "y", "n": "n",
    "~": None, "null": None, "": None, "Nil": "Nil",
    "010": "010", "1_000": "1_000", "20:22": "20:22", "1.2.3": "1.2.3",
    "2020-05-14T23:19:23Z": "2020-05-14T23:19:23Z",
    "'5'": "5", '"yes"': "yes", "!!str 5": "5", "! 5": "5", "!!int 5": 5, "!!bool yes": True, "=": "=",
    "99999999999999999999999999": "99999999999999999999999999",
}  # fmt: skip


@pytest.mark.parametrize(("text", "value"), SCALARS.items())
def test_scalars_read_as_kubernetes_tools_read_them(text: str, value: object) -> None:
    (document,) = read(f"a: {text}\n")
    assert document.value == {"a": value}
    assert type(document.value["a"]) is type(value)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 10)}]\n"
    for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
REFUSED = [
    ("a: 1\nb: 2\na: 3\n", 3, "given twice (first on line 1)"),
    ("a: {b: 1, b: 2}\n", 1, "given twice"),
    ("a: !!python/object/apply:os.system [x]\n", 1, "tag"),
    ("a: !!binary aGk=\n", 1, "tag"),
    ("a: !!int yes\n", 1, "tag"),
    ("a: !thing {b: 1}\n", 1, "tag"),
    ("x: 1\na: &a [*a]\n", 2, "stands inside it"),
    ("a: *b\n", 1, "alias *b"),
    ("a: &a {b: 1}\nc:\n  <<: *a\n", 3, "merge keys"),
    ("? [a]\n: b\n", 1, "only text can be a key"),
    ("a: &a b\n*a : c\n", 2, "only text can be a key"),
    ("a: [\n", 2, "cannot be read"),
    ("a: b: c\n", 1, "mapping values"),
    ("\ta: b\n", 1, "cannot start any token"),
    ("a: \x00\n", 1, "cannot be read"),
    ("a: \ud800\n", 1, "Unicode"),
    ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), 1, "nested deeper"),
    ("[" * 100_000, 1, "nested deeper"),
    (BOMB, 4, "aliases repeat more than"),
]


@pytest.mark.parametrize(("text", "line", "reason"), REFUSED)
def test_dangerous_or_broken_yaml_is_refused_with_its_line(text: str, line: int, reason: str) -> None:
    (document,) = read(text)
    assert document.value is None
    (problem,) = document.problems
    assert reason in problem.reason
    assert problem.line == line


def test_modest_aliases_and_nesting_are_read() -> None:
    (document,) = read("a: &a [1, {b: &b x}]\nc: *a\nd: *b\n")
    assert document.value == {"a": [1, {"b": "x"}], "c": [1, {"b": "x"}], "d": "x"}
    (document,) = read("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert document.problems == ()


def test_directives_block_texts_and_windows_lines_keep_the_line_numbers() -> None:
    text = (
        "%YAML 1.1\r\n---\r\na: |\r\n  text\r\n   --- inside\r\nb: 1\r\n...\r\n---\r\nc: 1\r\n--- {d: 1}\r\n"
    )
    first, second, third = read(text)
    assert first.value == {"a": "text\n --- inside\n", "b": 1}
    assert first.positions.line("b") == 6
    assert (second.value, second.positions.line("c")) == ({"c": 1}, 9)
    assert (third.value, third.positions.line("d")) == ({"d": 1}, 10)


def test_empty_pieces_and_long_runs_of_blanks_cost_nothing_and_mean_nothing() -> None:
    assert read("---\n" * 50_000) == []
    (document,) = read(" \n" * 50_000 + "%YAML 1.1\n" + "\n" * 50_000 + "--- {a: 1}\n")
    assert (document.value, document.positions.line("a")) == ({"a": 1}, 100_002)
    (alone,) = read("%YAML 1.1\n")
    assert alone.problems


def test_a_field_without_a_line_takes_that_of_what_encloses_it() -> None:
    (document,) = read("a:\n  b:\n  - c: 1\n  x/y: 2\n")
    line = document.positions.line
    assert [line("a.b[0].c"), line("a.b[0].zz"), line("a.b[7]"), line("a[x/y]"), line("q"), line("")] == [
        3,
        3,
        2,
        4,
        1,
        1,
    ]


DURATIONS = {
    "0": "0s", "0s": "0s", "5m": "5m0s", "5m0s": "5m0s", "90s": "1m30s", "1h": "1h0m0s", "1h30m": "1h30m0s",
    "1.5h": "1h30m0s", "10m0s": "10m0s", ".5s": "500ms", "1.s": "1s", "1500ms": "1.5s", "100ms": "100ms",
    "1.25ms": "1.25ms", "15us": "15µs", "15µs": "15µs", "15μs": "15µs", "2000ns": "2µs",
    "-1m": "-1m0s", "+2s": "2s",
    "24h1ms": "24h0m0.001s", "2562047h": "2562047h0m0s",
}  # fmt: skip


@pytest.mark.parametrize(("text", "printed"), DURATIONS.items())
def test_durations_print_as_go_prints_them(text: str, printed: str) -> None:
    assert format_duration(parse_duration(text)) == printed
    assert parse_duration(printed) == parse_duration(text)


def test_a_duration_has_its_length() -> None:
    assert parse_duration("1h2m3.5s") == timedelta(hours=1, minutes=2, seconds=3.5)


@pytest.mark.parametrize(
    "text", ["", "5", "s", "5x", "5m 3s", "-", ".s", "1e3s", "5M", "--5s", "9999999h", "1" * 200]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def _port(protocol: str, port: int, net: str = "") -> ProtoPort:
    return ProtoPort(protocol=protocol, port=port, net=net)


FAILSAFES = {
    "22": (_port("TCP", 22),),
    "tcp:22,UDP:53": (_port("TCP", 22), _port("UDP", 53)),
    "tcp:10.0.0.0/8:22, udp:68": (_port("TCP", 22, "10.0.0.0/8"), _port("UDP", 68)),
    "udp:10.1.2.3/8:0": (_port("UDP", 0, "10.0.0.0/8"),),
    "tcp:10.0.0.1:65535": (_port("TCP", 65535, "10.0.0.1/32"),),
    "tcp:[FD00::/8]:22": (_port("TCP", 22, "fd00::/8"),),
    "udp:[::1]:22": (_port("UDP", 22, "::1/128"),),
    "none": (),
    " None ": (),
    "": None,
    "  ": None,
}


@pytest.mark.parametrize(("text", "expected"), FAILSAFES.items())
def test_failsafe_lists_are_read(text: str, expected: tuple[ProtoPort, ...] | None) -> None:
    assert parse_failsafes(text) == expected


BAD_FAILSAFES = (
    "x;tcp;tcp:;sctp:22;tcp:65536;tcp:22,;tcp:fd00::/8:22;tcp:[10.0.0.0/8]:22;10.0.0.0/8:22;tcp:10.0.0.0/33:22;tcp:-1;"
    "tcp:22:10.0.0.0/8;none,tcp:22"
)


@pytest.mark.parametrize("text", BAD_FAILSAFES.split(";"))
def test_bad_failsafe_lists_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"failsafe|CIDR"):
        parse_failsafes(text)


def test_node_ports_are_read_with_and_without_protocol() -> None:
    assert parse_node_ports("30000:32767") == NodePorts(frozenset({6, 17, 132}), 30000, 32767)
    assert parse_node_ports("UDP:53") == NodePorts(frozenset({17}), 53, 53)
    for text in ("", "0", "2:1", "icmp:5", "65536", "a", "1:2:3"):
        with pytest.raises(ValueError, match=r"PORT|ports"):
            parse_node_ports(text)
