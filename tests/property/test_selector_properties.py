"""What holds for every selector text and every set of labels."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyagent.selector import Selector, SelectorError, parse, unique_id
from pyagent.selector.ast import All, And, Compare, Comparison, Global, Has, Member, Node, Not, Or

pytestmark = pytest.mark.property

LABELS = st.sampled_from(["a", "b", "in", "contains", "has", "all", "node-role.kubernetes.io/master"])
VALUES = st.sampled_from(["", "x", "xy", "y", "it's", 'say "x"', "all()", "é\n"])
LEAVES = st.one_of(
    st.builds(All),
    st.builds(Global),
    st.builds(Has, LABELS),
    st.builds(Compare, LABELS, st.sampled_from(Comparison), VALUES),
    st.builds(Member, LABELS, st.sets(VALUES).map(sorted).map(tuple), st.booleans()),
)


def _combined(children: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    several = st.lists(children, min_size=2, max_size=3).map(tuple)
    plain = children.filter(lambda node: not isinstance(node, Not))
    return st.one_of(st.builds(Not, plain), st.builds(And, several), st.builds(Or, several))


NODES = st.recursive(LEAVES, _combined, max_leaves=12)
LABEL_SETS = st.dictionaries(LABELS, VALUES)
SYMBOLS = list("(){},!=&|é \t\n\"'")
WORDS = ["a", "has(", "all()", "global()", "&&", "||", "==", "!=", "in", "not in", "contains", '"x"', "'y'"]
PIECES = st.sampled_from(SYMBOLS + WORDS)
TEXTS = st.one_of(st.text(), st.lists(PIECES).map("".join), st.lists(PIECES).map(" ".join))


def _holds(node: Node, labels: dict[str, str]) -> bool:
    """The meaning of a node, written as the language's description says it."""
    match node:
        case Has() | Compare() | Member():
            return _condition_holds(node, labels.get(node.label))
        case Not(operand):
            return not _holds(operand, labels)
        case And(operands):
            return all(_holds(operand, labels) for operand in operands)
        case Or(operands):
            return any(_holds(operand, labels) for operand in operands)
        case _:
            return True


def _condition_holds(node: Has | Compare | Member, found: str | None) -> bool:
    if isinstance(node, Has):
        return found is not None
    if isinstance(node, Member):
        return (found is not None and found in node.values) != node.negated
    if node.operator is Comparison.NOT_EQUAL:
        return found is None or found != node.value
    if found is None:
        return False
    places = [start for start in range(len(found) + 1) if found[start:].startswith(node.value)]
    return {
        Comparison.EQUAL: found == node.value,
        Comparison.CONTAINS: bool(places),
        Comparison.STARTS_WITH: 0 in places,
        Comparison.ENDS_WITH: len(found) - len(node.value) in places,
    }[node.operator]


@given(NODES)
def test_normal_form_parses_back_to_the_same_nodes(node: Node) -> None:
    assert parse(str(node)).root == node


@given(NODES, LABEL_SETS)
def test_matching_is_what_the_language_means(node: Node, labels: dict[str, str]) -> None:
    assert Selector(node).matches(labels) == _holds(node, labels)


@given(NODES, LABEL_SETS)
def test_labels_outside_keys_change_nothing(node: Node, labels: dict[str, str]) -> None:
    selector = Selector(node)
    keys = selector.keys()
    looked_at = {key: value for key, value in labels.items() if key in keys}
    assert selector.matches(looked_at) == selector.matches(labels)


def _parsed(text: str) -> Selector | SelectorError:
    try:
        return parse(text)
    except SelectorError as error:
        return error


@given(TEXTS, LABEL_SETS)
def test_any_text_parses_or_raises_selector_error(text: str, labels: dict[str, str]) -> None:
    selector = _parsed(text)
    if isinstance(selector, SelectorError):
        assert 0 <= selector.position <= len(text)
        return
    again = parse(str(selector))
    assert again == selector
    assert str(again) == str(selector)
    assert again.matches(labels) == selector.matches(labels)
    assert unique_id(again) == unique_id(selector)
    assert pickle.loads(pickle.dumps(selector)) == selector
