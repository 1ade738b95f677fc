"""Questions about packets: what becomes of this one, on that node, under these resources, by each engine.

Shared by ``hepctl test``, ``hepctl explain`` and ``hepctl lint``; needs neither root nor a cluster.
"""

from __future__ import annotations

from pyagent.inquiry.engines import ENGINES, Answer, Engines, disagreement
from pyagent.inquiry.hosts import EXTERNAL, Described, Hosts, automatic
from pyagent.inquiry.packets import PacketError, PacketSpec, build
from pyagent.inquiry.route import Crossing, inbound, outbound
from pyagent.inquiry.sources import Sources, from_datastore, from_documents, from_paths

__all__ = [
    "ENGINES",
    "EXTERNAL",
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
    "disagreement",
    "from_datastore",
    "from_documents",
    "from_paths",
    "inbound",
    "outbound",
]
