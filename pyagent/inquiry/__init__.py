"""Questions about packets: what becomes of this one, on that node, under these resources, by each engine.

Shared by ``hepctl test``, ``hepctl explain`` and ``hepctl lint``; only the kernel engine needs root.
"""

from __future__ import annotations

from pyagent.inquiry.answer import ENGINES, KERNEL, UNPRIVILEGED, Answer, disagreement
from pyagent.inquiry.engines import Engines, kernel_if_asked
from pyagent.inquiry.hosts import EXTERNAL, Described, Hosts, automatic
from pyagent.inquiry.packets import PacketError, PacketSpec, build, check_flow
from pyagent.inquiry.route import Crossing, inbound, outbound
from pyagent.inquiry.sources import Sources, from_datastore, from_documents, from_paths

__all__ = [
    "ENGINES",
    "EXTERNAL",
    "KERNEL",
    "UNPRIVILEGED",
    "Answer",
    "Crossing",
    "Described",
    "Engines",
    "Hosts",
    "PacketError",
    "PacketSpec",
    "Sources",
    "automatic",
    "build",
    "check_flow",
    "disagreement",
    "from_datastore",
    "from_documents",
    "from_paths",
    "inbound",
    "kernel_if_asked",
    "outbound",
]
