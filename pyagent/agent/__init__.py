"""The agent, one a node: watches resources and the host, calculates, compiles, enforces and reports."""

from __future__ import annotations

from pyagent.agent.late import LateDatastore
from pyagent.agent.run import AgentOptions, run

__all__ = ["AgentOptions", "LateDatastore", "run"]
