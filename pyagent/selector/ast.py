"""The parsed form of a selector: immutable nodes, compared by value, each printing its own normal form."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Comparison(StrEnum):
    """The operators between a label and one value, as the normal form writes them."""

    EQUAL = "=="
    NOT_EQUAL = "!="
    CONTAINS = "contains"
    STARTS_WITH = "starts with"
    ENDS_WITH = "ends with"


@dataclass(frozen=True, slots=True)
class All:
    """``all()``: true of everything."""

    def __str__(self) -> str:
        return "all()"


@dataclass(frozen=True, slots=True)
class Global:
    """``global()``: true of everything; in a rule's namespaceSelector it means what has no namespace."""

    def __str__(self) -> str:
        return "global()"


@dataclass(frozen=True, slots=True)
class Has:
    """``has(label)``: the label is present, whatever its value."""

    label: str

    def __str__(self) -> str:
        return f"has({self.label})"


@dataclass(frozen=True, slots=True)
class Compare:
    """A label compared with one value; a missing label satisfies only ``!=``."""

    label: str
    operator: Comparison
    value: str

    def __str__(self) -> str:
        return f"{self.label} {self.operator} {quoted(self.value)}"


@dataclass(frozen=True, slots=True)
class Member:
    """``in`` and ``not in``; ``values`` are sorted and unique, a missing label satisfies only ``not in``."""

    label: str
    values: tuple[str, ...]
    negated: bool = False

    def __str__(self) -> str:
        operator = "not in" if self.negated else "in"
        return f"{self.label} {operator} {{{', '.join(map(quoted, self.values))}}}"


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of ``operand``, which is never itself a Not."""

    operand: Node

    def __str__(self) -> str:
        return f"!{self.operand}"


@dataclass(frozen=True, slots=True)
class And:
    """All of two or more terms."""

    operands: tuple[Node, ...]

    def __str__(self) -> str:
        return f"({' && '.join(map(str, self.operands))})"


@dataclass(frozen=True, slots=True)
class Or:
    """Any of two or more terms."""

    operands: tuple[Node, ...]

    def __str__(self) -> str:
        return f"({' || '.join(map(str, self.operands))})"


Node = All | Global | Has | Compare | Member | Not | And | Or


def quoted(value: str) -> str:
    """``value`` as a string literal; the grammar has no value that contains both kinds of quote."""
    return f"'{value}'" if '"' in value else f'"{value}"'


def leaves(node: Node) -> list[Node]:
    """Every node below ``node`` that has no operands, in order of appearance."""
    match node:
        case Not(operand):
            return leaves(operand)
        case And(operands) | Or(operands):
            return [leaf for operand in operands for leaf in leaves(operand)]
        case _:
            return [node]
