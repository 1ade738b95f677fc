"""The agent, one a node: watches resources and the host, calculates, compiles, enforces and reports."""

from __future__ import annotations

from pyagent.agent.late import LateDatastore
from pyagent.agent.mirror import CLUSTER_KINDS, KINDS
from pyagent.agent.run import AgentOptions, run

__all__ = ["CLUSTER_KINDS", "KINDS", "AgentOptions", "LateDatastore", "run"]
