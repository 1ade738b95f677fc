"""The fields of a test file, one document of it at a time."""

from __future__ import annotations

from typing import Any

import msgspec

from pyagent.inquiry import PacketSpec
from pyagent.model.resource import Struct


class CaseFields(Struct, frozen=True):
    """One case. ``interface``, ``to_interface`` and ``by`` may be left out; so may ``flow``: it is New."""

    name: str = ""
    node: str = ""
    interface: str = ""
    to_interface: str = ""
    direction: str = ""
    packet: PacketSpec = PacketSpec()
    flow: str = "New"
    expect: str = ""
    by: str = ""


class InterfaceFields(Struct, frozen=True):
    """An interface of a host; ``workload`` left out: by its name, as the agent tells."""

    name: str = ""
    addresses: tuple[str, ...] = ()
    workload: bool | None = None
    layer3: bool = False


class PodFields(Struct, frozen=True):
    """A pod of a host: the host's side of it, and the pod's own addresses."""

    interface: str = ""
    addresses: tuple[str, ...] = ()


class FactsFields(Struct, frozen=True):
    """What is true of a host beside its resources."""

    interfaces: tuple[InterfaceFields, ...] = ()
    pods: tuple[PodFields, ...] = ()
    broadcasts: tuple[str, ...] = ()


class SuiteFields(Struct, frozen=True):
    """A document: resources as paths (relative to the file) or inline; labels and facts by node; cases."""

    resources: tuple[str | dict[str, Any], ...] = ()
    labels: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    facts: dict[str, FactsFields] = msgspec.field(default_factory=dict)
    cases: tuple[CaseFields, ...] = ()
