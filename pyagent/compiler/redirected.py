"""Packets to this host that Services take elsewhere, as one more table: what it allows counts as forwarded.

As a table, because it is exact in addresses and ports together: a Service's port at one of the host's
addresses says nothing of that port at the others.
"""

from __future__ import annotations

from typing import Final

from pyagent.abi import Action, TableKind
from pyagent.calc.view import END, NodeView, PolicyView, RuleAction, RuleRef, RuleView, TableView, TierView

_OWNER: Final = "services"
#: Nothing counts these; each number is only told apart from 0.
_RULE: Final = RuleRef("Service", _OWNER, "ingress", 0, 1)
_ENDS: Final = RuleRef("Service", _OWNER, "ingress", END, 2)


def redirections(view: NodeView) -> TableView | None:
    """The table; None if no Service takes anything that is addressed to this host."""
    if not view.redirected:
        return None
    policy = PolicyView(_OWNER, (RuleView(_RULE, RuleAction.ALLOW, view.redirected),))
    tier = TierView(_OWNER, (policy,), RuleAction.PASS, _ENDS)
    return TableView(TableKind.PREDNAT, (tier,), (), Action.NONE, _ENDS)
