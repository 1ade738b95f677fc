"""From resources and one host's facts to what that host has to enforce: a NodeView."""

from __future__ import annotations

from pyagent.calc.configuration import Settings, effective_spec, settings
from pyagent.calc.node import Calculator, node_view
from pyagent.calc.observed import policy_digest
from pyagent.calc.view import NodeView
from pyagent.calc.world import World

__all__ = [
    "Calculator",
    "NodeView",
    "Settings",
    "World",
    "effective_spec",
    "node_view",
    "policy_digest",
    "settings",
]
