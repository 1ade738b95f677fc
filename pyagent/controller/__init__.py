"""The controller: automatic host endpoints for nodes, and the resources that always exist."""

from __future__ import annotations

from pyagent.controller.loop import RESYNC_S, run
from pyagent.controller.reconcile import Report, reconcile_once
from pyagent.controller.services import write_services
from pyagent.controller.settings import SettingsError
from pyagent.controller.telling import serve

__all__ = ["RESYNC_S", "Report", "SettingsError", "reconcile_once", "run", "serve", "write_services"]
