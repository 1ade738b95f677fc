"""An API server's stand-in: the real protocol over HTTP, memory for etcd, and faults on demand."""

from __future__ import annotations

from tests.support.apiserver.server import ADMIN, ApiServer
from tests.support.apiserver.storage import Storage

__all__ = ["ADMIN", "ApiServer", "Storage"]
