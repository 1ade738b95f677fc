"""Tokens to the parsed form, by recursive descent.

    or   := and ("||" and)*
    and  := term ("&&" term)*
    term := "!"* ( "has(" label ")" | "all()" | "global()" | "(" or ")"
                 | label comparison string | label ("in" | "not in") set )
    set  := "{" [string ("," string)* [","]] "}"

Nesting is bounded, so that no text can exhaust the stack of whoever parses, prints or matches it.
"""

from __future__ import annotations

from pyagent.errors import SelectorError
from pyagent.selector.ast import All, And, Compare, Comparison, Global, Has, Member, Node, Not, Or
from pyagent.selector.lexer import Kind, Token, tokens

#: Longest label, in characters.
MAX_LABEL = 512
#: Deepest nesting of ``&&`` and ``||`` inside each other.
MAX_DEPTH = 64
#: Deepest nesting of parentheses; the normal form of a selector within MAX_DEPTH always stays below it.
_MAX_PARENTHESES = 2 * MAX_DEPTH


def parse_node(text: str) -> Node:
    """Parse ``text``; blanks only mean ``all()``. Raises SelectorError."""
    return _Parser(text).whole()


class _Parser:
    """One run over one text; every method returns the node and the depth of ``&&``/``||`` nesting in it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text, MAX_LABEL)
        self._at = 0
        self._parentheses = 0

    def whole(self) -> Node:
        if self._peek().kind is Kind.END:
            return All()
        node, _ = self._any_of()
        if self._peek().kind is not Kind.END:
            raise self._error(self._peek(), f"unexpected {_name(self._peek())} after the selector")
        return node

    def _any_of(self) -> tuple[Node, int]:
        terms = [self._all_of()]
        while self._accept(Kind.OR):
            terms.append(self._all_of())
        return self._joined(terms, Or)

    def _all_of(self) -> tuple[Node, int]:
        terms = [self._term()]
        while self._accept(Kind.AND):
            terms.append(self._term())
        return self._joined(terms, And)

    def _joined(self, terms: list[tuple[Node, int]], join: type[And | Or]) -> tuple[Node, int]:
        if len(terms) == 1:
            return terms[0]
        depth = 1 + max(depth for _, depth in terms)
        if depth > MAX_DEPTH:
            raise self._error(self._peek(), f"nested deeper than {MAX_DEPTH} levels")
        return join(tuple(node for node, _ in terms)), depth

    def _term(self) -> tuple[Node, int]:
        negated = False
        while self._accept(Kind.NOT):
            negated = not negated
        node, depth = self._positive()
        if not negated:
            return node, depth
        return (node.operand if isinstance(node, Not) else Not(node)), depth

    def _positive(self) -> tuple[Node, int]:
        token = self._take()
        match token.kind:
            case Kind.HAS:
                label = self._expect(Kind.LABEL, "in has()")
                self._expect(Kind.CLOSE, "to close has(")
                return Has(label.value), 0
            case Kind.ALL:
                return All(), 0
            case Kind.GLOBAL:
                return Global(), 0
            case Kind.OPEN:
                return self._parenthesised(token)
            case Kind.LABEL:
                return self._condition(token), 0
        raise self._error(token, f"expected a label, a function, ! or ( but found {_name(token)}")

    def _parenthesised(self, opening: Token) -> tuple[Node, int]:
        self._parentheses += 1
        if self._parentheses > _MAX_PARENTHESES:
            raise self._error(opening, f"more than {_MAX_PARENTHESES} parentheses inside each other")
        inner = self._any_of()
        self._expect(Kind.CLOSE, "to close (")
        self._parentheses -= 1
        return inner

    def _condition(self, label: Token) -> Node:
        operator = self._expect(Kind.OPERATOR, "after the label").value
        if operator in {"in", "not in"}:
            return Member(label.value, self._set(), negated=operator == "not in")
        value = self._expect(Kind.STRING, f"after {operator}")
        return Compare(label.value, Comparison(operator), value.value)

    def _set(self) -> tuple[str, ...]:
        self._expect(Kind.OPEN_SET, "to begin a set")
        values: set[str] = set()
        while self._peek().kind is not Kind.CLOSE_SET:
            values.add(self._expect(Kind.STRING, "in the set").value)
            if not self._accept(Kind.COMMA):
                break
        self._expect(Kind.CLOSE_SET, "to close the set")
        return tuple(sorted(values))

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        if token.kind is not Kind.END:
            self._at += 1
        return token

    def _accept(self, kind: Kind) -> bool:
        if self._peek().kind is kind:
            self._at += 1
            return True
        return False

    def _expect(self, kind: Kind, where: str) -> Token:
        token = self._take()
        if token.kind is not kind:
            raise self._error(token, f"expected {kind} {where} but found {_name(token)}")
        return token

    def _error(self, token: Token, reason: str) -> SelectorError:
        return SelectorError(self._text, token.position, reason)


def _name(token: Token) -> str:
    return f"{token.kind} {token.value!r}" if token.value else str(token.kind)
