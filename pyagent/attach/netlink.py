"""What is used of pyroute2, without the rest of it.

Its package imports all that the library has: a database, two dozen protocols, tools. That is 6 MB in each of
thousands of agents, of which none is ever used; what is used stands in modules of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any


def _enter_by_the_side() -> None:
    """Have pyroute2's modules found without running the package's own code, until somebody asks for that."""
    spec = importlib.util.find_spec("pyroute2") if "pyroute2" not in sys.modules else None
    if spec is None or spec.loader is None:
        return
    package, loader = importlib.util.module_from_spec(spec), spec.loader

    def missing(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return importlib.import_module(f"pyroute2.{name}")
        except ModuleNotFoundError:  # one of the names that its own code gives: from here on it is whole
            del package.__getattr__
            loader.exec_module(package)
            return getattr(package, name)

    package.__getattr__ = missing  # type: ignore[method-assign]
    sys.modules["pyroute2"] = package


_enter_by_the_side()

from pyroute2.iproute.linux import IPRoute  # noqa: E402
from pyroute2.netlink.exceptions import NetlinkError  # noqa: E402
from pyroute2.netlink.rtnl.tcmsg import sched_bpf  # noqa: E402

__all__ = ["IPRoute", "NetlinkError", "sched_bpf"]
