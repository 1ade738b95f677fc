"""Images into the kernel: the pinned maps of one instance, and the store that puts a generation in force."""

from __future__ import annotations

from pyagent.dataplane.kernel import UNKNOWN, Dataplane, Interface

__all__ = ["UNKNOWN", "Dataplane", "Interface"]
