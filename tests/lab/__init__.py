"""The lab: three nodes with a pod each and an outside machine, as network namespaces joined by one bridge.

One kernel, several network namespaces: honest about packets, attachment, restarts and several agents in
step; not about differences between kernels, or reboots.
"""

from tests.lab.lab import Lab
from tests.lab.probe import Outcome
from tests.lab.topology import EXTERNAL, MACHINES, NODES, Machine

__all__ = ["EXTERNAL", "MACHINES", "NODES", "Lab", "Machine", "Outcome"]
