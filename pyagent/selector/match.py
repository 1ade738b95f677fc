"""A parsed selector as a function of labels: nested closures, several times faster than walking the nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pyagent.selector.ast import And, Compare, Comparison, Has, Member, Node, Not, Or

Labels = Mapping[str, str]
Matcher = Callable[[Labels], bool]


def matcher(node: Node) -> Matcher:
    """The function that is true of the labels that ``node`` picks."""
    match node:
        case Has(label):
            return lambda labels: label in labels
        case Compare():
            return _comparison(node)
        case Member(label, values, negated):
            return _membership(label, frozenset(values), negated=negated)
        case Not() | And() | Or():
            return _combination(node)
        case _:
            return lambda _labels: True


def _combination(node: Not | And | Or) -> Matcher:
    if isinstance(node, Not):
        inner = matcher(node.operand)
        return lambda labels: not inner(labels)
    terms = tuple(map(matcher, node.operands))
    return _all_of(terms) if isinstance(node, And) else _any_of(terms)


def _comparison(node: Compare) -> Matcher:
    label, value = node.label, node.value
    match node.operator:
        case Comparison.EQUAL:
            return lambda labels: labels.get(label) == value
        case Comparison.NOT_EQUAL:
            return lambda labels: labels.get(label) != value
        case Comparison.CONTAINS:
            return lambda labels: (found := labels.get(label)) is not None and value in found
        case Comparison.STARTS_WITH:
            return lambda labels: (found := labels.get(label)) is not None and found.startswith(value)
        case Comparison.ENDS_WITH:
            return lambda labels: (found := labels.get(label)) is not None and found.endswith(value)


def _membership(label: str, values: frozenset[str], *, negated: bool) -> Matcher:
    if negated:
        return lambda labels: labels.get(label) not in values
    return lambda labels: labels.get(label) in values


def _all_of(terms: tuple[Matcher, ...]) -> Matcher:
    def matches(labels: Labels) -> bool:
        for term in terms:  # noqa: SIM110 - a generator in all() costs twice as much
            if not term(labels):
                return False
        return True

    return matches


def _any_of(terms: tuple[Matcher, ...]) -> Matcher:
    def matches(labels: Labels) -> bool:
        for term in terms:  # noqa: SIM110 - as above
            if term(labels):
                return True
        return False

    return matches
