"""The selector language: what parses, what it matches, how it prints and what is refused."""

from __future__ import annotations

import base64
import hashlib

import pytest

from pyagent.selector import MAX_DEPTH, SelectorError, parse, unique_id

MATCHES: list[tuple[str, dict[str, str], bool]] = [
    ("", {}, True),
    (" \t ", {"a": "b"}, True),
    ("all()", {}, True),
    ("all(  )", {}, True),
    ("!all()", {}, False),
    ("global()", {}, True),
    ("has(a)", {"a": ""}, True),
    ("has( a )", {"a": "x"}, True),
    ("has(a)", {"b": ""}, False),
    ("!has(a)", {"a": ""}, False),
    ("!!has(a)", {"a": ""}, True),
    ("!!!has(a)", {"a": ""}, False),
    ("a == 'x'", {"a": "x"}, True),
    ('a=="x"', {"a": "y"}, False),
    ("a == 'x'", {}, False),
    ("a == ''", {"a": ""}, True),
    ("a == ''", {}, False),
    ("a != 'x'", {"a": "x"}, False),
    ("a != 'x'", {"a": "y"}, True),
    ("a != 'x'", {}, True),
    ("!a == 'x'", {"a": "y"}, True),
    ("!a == 'x'", {}, True),
    ("! a != 'x'", {"a": "x"}, True),
    ("a contains 'b'", {"a": "abc"}, True),
    ("a contains 'z'", {"a": "abc"}, False),
    ("a contains ''", {"a": ""}, True),
    ("a contains ''", {}, False),
    ("a starts with 'ab'", {"a": "abc"}, True),
    ("a startswith 'bc'", {"a": "abc"}, False),
    ("a starts  \twith 'a'", {}, False),
    ("a ends with 'bc'", {"a": "abc"}, True),
    ("a endswith'ab'", {"a": "abc"}, False),
    ("a ends with 'x'", {}, False),
    ("a in {'x', 'y'}", {"a": "y"}, True),
    ("a in{'x','y',}", {"a": "z"}, False),
    ("a in {'x'}", {}, False),
    ("a in {}", {"a": ""}, False),
    ("a in {}", {}, False),
    ("a not in {}", {"a": ""}, True),
    ("a notin {}", {}, True),
    ("a not in {'x'}", {}, True),
    ("a not  in {'x', \"y\"}", {"a": "y"}, False),
    ("a not in {'x'}", {"a": "y"}, True),
    ("has(a) && has(b)", {"a": "", "b": ""}, True),
    ("has(a) && has(b)", {"a": ""}, False),
    ("has(a)||has(b)", {"b": ""}, True),
    ("has(a) || has(b)", {}, False),
    ("has(a) || has(b) && has(c)", {"a": ""}, True),
    ("(has(a) || has(b)) && has(c)", {"a": ""}, False),
    ("!(has(a) && has(b))", {"a": ""}, True),
    ("!has(a) && has(b)", {"b": ""}, True),
    ("in in {'in'}", {"in": "in"}, True),
    ("contains contains 'a'", {"contains": "bar"}, True),
    ("startswith startswith 'a'", {"startswith": "abc"}, True),
    ("has == 'x'", {"has": "x"}, True),
    ("all == 'x'", {"all": "x"}, True),
    ("global != 'x'", {"global": "x"}, False),
    ("has(has)", {"has": ""}, True),
    ("not not in {'x'}", {"not": "x"}, False),
    ('a == "it\'s"', {"a": "it's"}, True),
    ("a == 'say \"x\"'", {"a": 'say "x"'}, True),
    ("a == 'all()'", {"a": "all()"}, True),
    ("a == '\\n'", {"a": "\\n"}, True),
    ("has(node-role.kubernetes.io/master)", {"node-role.kubernetes.io/master": ""}, True),
    ("5 == '5'", {"5": "5"}, True),
]


@pytest.mark.parametrize(("text", "labels", "expected"), MATCHES)
def test_matches_the_labels_it_should_and_no_others(
    text: str, labels: dict[str, str], expected: bool
) -> None:
    assert parse(text).matches(labels) is expected


NORMAL_FORMS = {
    "": "all()",
    "  ": "all()",
    "all( )": "all()",
    "global()": "global()",
    "has( a )": "has(a)",
    "a=='b'": 'a == "b"',
    'a!="b"': 'a != "b"',
    "a == 'b\"c'": "a == 'b\"c'",
    'a == "b\'c"': 'a == "b\'c"',
    "a in {'c','a','b','a'}": 'a in {"a", "b", "c"}',
    "a in {}": "a in {}",
    "a notin {'b',}": 'a not in {"b"}',
    "a not in {'b', 'a\"'}": 'a not in {\'a"\', "b"}',
    "a startswith 'b'": 'a starts with "b"',
    "a endswith 'b'": 'a ends with "b"',
    "a contains 'b'": 'a contains "b"',
    "has(a)&&has(b)": "(has(a) && has(b))",
    "has(a)||has(b)&&has(c)": "(has(a) || (has(b) && has(c)))",
    "((has(a)))": "has(a)",
    "(has(a) && has(b)) && has(c)": "((has(a) && has(b)) && has(c))",
    "!!!has(a)": "!has(a)",
    "!!has(a)": "has(a)",
    "!(!has(a))": "has(a)",
    "! a == 'b'": '!a == "b"',
    "!(has(a)||has(b))": "!(has(a) || has(b))",
}


@pytest.mark.parametrize(("text", "normal"), NORMAL_FORMS.items())
def test_prints_its_normal_form(text: str, normal: str) -> None:
    assert str(parse(text)) == normal
    assert str(parse(normal)) == normal


BAD = [
    ("a = 'b'", 2, "single ="),
    ("has(a) & has(b)", 7, "single &"),
    ("has(a) | has(b)", 7, "single |"),
    ("a == 'b", 5, "not terminated"),
    ('a == "b', 5, "not terminated"),
    ("a == 'b\"", 5, "not terminated"),
    ("a", 1, "expected an operator after the label but found the end"),
    ("a b", 2, "expected an operator"),
    ("a inx {'b'}", 2, "expected an operator"),
    ("a ==", 4, "expected a string after == but found the end"),
    ("a == b", 5, "expected a string after == but found a label 'b'"),
    ("a != has(b)", 5, "expected a string"),
    ("a in 'b'", 5, "to begin a set"),
    ("a in {'b'", 9, "to close the set"),
    ("a in {b}", 6, "in the set"),
    ("a in {,}", 6, "in the set"),
    ("a in {'b',,}", 10, "in the set"),
    ("a in {'b' 'c'}", 10, "to close the set"),
    ("(has(a)", 7, "to close ("),
    ("has(a", 5, "to close has("),
    ("has()", 4, "in has()"),
    ("has('a')", 4, "in has()"),
    ("has (a)", 4, "after the label"),
    ("all ()", 4, "after the label"),
    ("all(a)", 3, "after the label"),
    ("global", 6, "after the label"),
    ("has(a))", 6, "after the selector"),
    ("has(a) has(b)", 7, "after the selector"),
    ("has(a) &&", 9, "found the end"),
    ("|| has(a)", 0, "expected a label"),
    ("!", 1, "found the end"),
    ("()", 1, "expected a label"),
    ("'a' == 'b'", 4, "expected a label before =="),
    ("has(a)\n", 6, "unexpected character"),
    ("has(a) && \u00e9 == 'b'", 10, "unexpected character"),
    (f"has({'a' * 513})", 4, "longer than 512"),
]


@pytest.mark.parametrize(("text", "position", "reason"), BAD)
def test_refuses_bad_text_and_says_where(text: str, position: int, reason: str) -> None:
    with pytest.raises(SelectorError) as raised:
        parse(text)
    assert reason in raised.value.reason
    assert raised.value.position == position
    assert raised.value.text == text


def test_a_label_of_512_characters_is_accepted() -> None:
    label = "a" * 512
    assert parse(f"has({label})").matches({label: ""})


def _nested(levels: int) -> str:
    text = "has(a)"
    for level in range(levels):
        text = f"({text} {'&&' if level % 2 else '||'} has(b))"
    return text


def test_nesting_is_refused_only_beyond_its_limit() -> None:
    assert str(parse(_nested(MAX_DEPTH))) == _nested(MAX_DEPTH)
    with pytest.raises(SelectorError, match="nested deeper"):
        parse(_nested(MAX_DEPTH + 1))
    with pytest.raises(SelectorError, match="parentheses inside each other"):
        parse("(" * 100_000)


def test_many_terms_side_by_side_are_no_nesting() -> None:
    selector = parse(" || ".join(f"a == '{number}'" for number in range(5_000)))
    assert selector.matches({"a": "4999"})
    assert not selector.matches({"a": "5000"})
    assert parse("!" * 100_001 + "has(a)").matches({})


def test_keys_are_the_labels_it_looks_at() -> None:
    selector = parse("has(a) && !(b == 'c' || c in {'x'}) && all() && a != ''")
    assert selector.keys() == {"a", "b", "c"}
    assert parse("all() && global()").keys() == frozenset()


def test_functions_of_everything_are_recognised_alone_and_inside() -> None:
    assert parse("").is_all
    assert not parse("!all()").is_all
    assert parse("global()").is_global
    assert not parse("global() && has(a)").is_global
    assert parse("global() && has(a)").mentions_global
    assert not parse("global == 'a'").mentions_global


def test_selectors_of_one_normal_form_are_one_value() -> None:
    assert parse("a in {'y', 'x'}") == parse("(a in {\"x\",'y'})")
    assert len({parse("has(a)"), parse("has( a )"), parse("has(b)")}) == 2
    assert parse("has(a)") != "has(a)"


def test_unique_id_is_the_hash_of_the_normal_form() -> None:
    digest = hashlib.sha224(b"s:all()").digest()
    assert unique_id(parse("")) == "s:" + base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert unique_id(parse("has(a)")) == unique_id(parse(" has( a ) "))
    assert unique_id(parse("has(a)")) != unique_id(parse("has(b)"))
    assert len(unique_id(parse("has(a)"))) == 40
