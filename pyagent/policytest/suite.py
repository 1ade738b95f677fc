"""Test files to suites: strictly decoded, checked against their resources, refused with file and line."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyagent.errors import ManifestError, Problem
from pyagent.inquiry import (
    Crossing,
    Described,
    Hosts,
    PacketError,
    Sources,
    automatic,
    build,
    check_flow,
    from_documents,
    inbound,
    outbound,
)
from pyagent.inquiry.hosts import is_address, relabelled
from pyagent.inquiry.route import ends, is_own
from pyagent.inquiry.sources import documents_of
from pyagent.manifest import Document, Positions, decode
from pyagent.manifest.decoding import convert
from pyagent.manifest.paths import child
from pyagent.manifest.reading import RawDocument, read
from pyagent.model.facts import InterfaceFacts
from pyagent.model.packet import Packet
from pyagent.policytest.by import check_by
from pyagent.policytest.fields import CaseFields, FactsFields, SuiteFields
from pyagent.reference import FlowState, Verdict

DIRECTIONS = ("ingress", "egress", "forward")


@dataclass(frozen=True, slots=True)
class Case:
    """One case, ready to be asked: the hooks that the packet crosses, in order."""

    name: str
    file: str
    line: int
    crossings: tuple[Crossing, ...]
    flow: FlowState
    expect: Verdict
    by: str = ""


@dataclass(frozen=True, slots=True)
class Suite:
    """One document of a test file. ``files``: every file and directory that it was read from."""

    file: str
    line: int
    sources: Sources
    hosts: Hosts
    cases: tuple[Case, ...]
    files: tuple[str, ...] = field(default=())


def load_suites(path: str) -> list[Suite]:
    """Every document of a test file. Raises ManifestError with all problems of the first bad one."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ManifestError([Problem("file", "cannot be read: not UTF-8", file=path)]) from None
    except OSError as error:
        raise ManifestError([Problem("file", error.strerror or str(error), file=path)]) from error
    suites = [_Reader(path, raw).suite() for raw in read(text)]
    if not suites:
        raise ManifestError([Problem("document", "there is no test in this file", file=path)])
    return suites


class _Reader:
    """One document; gathers problems and raises them together."""

    def __init__(self, file: str, raw: RawDocument) -> None:
        self._file, self._raw = file, raw
        self._positions: Positions = raw.positions
        self._problems: list[Problem] = []

    def suite(self) -> Suite:
        self._problems += self._raw.problems
        self._stop_if_bad()
        fields = self._decode(self._raw.value)
        for index, each in enumerate(fields.resources):
            self._need(each != "-", f"resources[{index}]", "standard input is no resource of a test", "-")
        self._stop_if_bad()
        sources = from_documents(self._documents(fields.resources))
        nodes = {each.name for each in sources.resources if each.KIND == "Node"}
        for node in fields.labels:
            self._need(node in nodes, child("labels", node), f"there is no Node '{node}' among the resources")
        resources = automatic(relabelled(sources.resources, fields.labels))
        hosts = Hosts(resources)
        described = {node: self._described(hosts, node, fields.facts[node]) for node in fields.facts}
        self._stop_if_bad()
        hosts = Hosts(resources, described)
        self._need(bool(fields.cases), "cases", "there are no cases")
        cases = [self._case(hosts, each, f"cases[{index}]") for index, each in enumerate(fields.cases)]
        self._stop_if_bad()
        files = (self._file, *(self._beside(each) for each in fields.resources if isinstance(each, str)))
        made = tuple(case for case in cases if case is not None)
        return Suite(self._file, self._raw.line, sources, hosts, made, files)

    # -- problems

    def _need(self, condition: bool, path: str, reason: str, value: str = "") -> None:
        if not condition:
            self._problems.append(Problem(path, reason, value))

    def _need_addresses(self, addresses: Sequence[str], path: str) -> None:
        for address in addresses:
            self._need(is_address(address), path, "is not an IP address", address)

    def _stop_if_bad(self) -> None:
        if self._problems:
            raise ManifestError([self._positions.placed(each, self._file) for each in self._problems])

    # -- the parts

    def _decode(self, value: Any) -> SuiteFields:
        if not isinstance(value, dict):
            self._problems.append(Problem("document", "is not an object with resources and cases"))
            self._stop_if_bad()
        fields, self._problems = convert(value, SuiteFields, self._positions)
        self._stop_if_bad()
        assert fields is not None, "what cannot be decoded has problems"
        return fields

    def _beside(self, path: str) -> str:
        """A path of the file's: relative to where the file is."""
        return str(Path(self._file).parent / path)

    def _documents(self, resources: Sequence[str | dict[str, Any]]) -> list[Document]:
        own = Path(self._file).resolve()
        found: list[Document] = []
        for index, given in enumerate(resources):
            if isinstance(given, str):
                documents = documents_of([self._beside(given)])
                found += [each for each in documents if Path(each.file).resolve() != own]
            else:
                found.append(self._inline(given, self._positions.below("resources").below(index)))
        return found

    def _inline(self, value: dict[str, Any], positions: Positions) -> Document:
        kind, name = str(value.get("kind", "")), ""
        try:
            resource = decode(value, self._file, positions)
        except ManifestError as error:
            return Document(None, error.problems, kind, name, self._file, positions.line(""), positions)
        return Document(resource, (), kind, resource.name, self._file, positions.line(""), positions)

    def _described(self, hosts: Hosts, node: str, fields: FactsFields) -> Described:
        at = child("facts", node)
        self._need(node in hosts.names, at, f"there is no node '{node}' among the resources")
        is_workload = hosts.settings(node).is_workload
        for number, interface in enumerate(fields.interfaces):
            self._need(bool(interface.name), f"{at}.interfaces[{number}]", "name is required")
            self._need_addresses(interface.addresses, f"{at}.interfaces[{number}].addresses")
        for number, pod in enumerate(fields.pods):
            self._need_addresses(pod.addresses, f"{at}.pods[{number}].addresses")
        self._need_addresses(fields.broadcasts, f"{at}.broadcasts")
        interfaces = tuple(
            InterfaceFacts(
                each.name,
                0,
                each.addresses,
                is_workload(each.name) if each.workload is None else each.workload,
                each.layer3,
            )
            for each in fields.interfaces
        )
        pods = tuple(
            (each.interface or f"cali{number}", each.addresses) for number, each in enumerate(fields.pods)
        )
        return Described(interfaces, pods, fields.broadcasts)

    # -- a case

    def _case(self, hosts: Hosts, fields: CaseFields, at: str) -> Case | None:
        before = len(self._problems)
        self._check_words(fields, at)
        packet = self._packet(hosts, fields, at)
        if packet is not None and fields.flow in tuple(FlowState):
            why = check_flow(packet, FlowState(fields.flow))
            self._need(not why, f"{at}.flow", why, fields.flow)
        node = fields.node or (self._owner(hosts, fields.direction, packet, at) if packet else "")
        if node:
            self._need(node in hosts.names, f"{at}.node", "there is no such node among the resources", node)
        if reason := check_by(fields.by, fields.direction, hosts.world):
            self._problems.append(Problem(f"{at}.by", reason, fields.by))
        if packet is None or len(self._problems) > before:
            return None
        return Case(
            fields.name,
            self._file,
            self._positions.line(at),
            self._crossings(hosts, node, fields, packet, at),
            FlowState(fields.flow),
            Verdict(fields.expect),
            fields.by,
        )

    def _check_words(self, fields: CaseFields, at: str) -> None:
        """The fields that need no resources to be judged."""
        self._need(bool(fields.name), f"{at}.name", "name is required: what the case shows, in words")
        for name, value, words in (
            ("direction", fields.direction, DIRECTIONS),
            ("expect", fields.expect, tuple(Verdict)),
            ("flow", fields.flow, tuple(FlowState)),
        ):
            self._need(value in words, f"{at}.{name}", f"must be one of {', '.join(words)}", value)

    def _packet(self, hosts: Hosts, fields: CaseFields, at: str) -> Packet | None:
        try:
            return build(fields.packet, hosts)
        except PacketError as error:
            self._problems.append(Problem(f"{at}.packet.{error.field}", error.reason))
            return None

    def _owner(self, hosts: Hosts, direction: str, packet: Packet, at: str) -> str:
        """The node whose address the near end is."""
        source, destination = ends(packet)
        found = hosts.owner(str(destination if direction == "ingress" else source))
        self._need(found is not None, f"{at}.node", "node is required: neither end tells which node it is")
        return found or ""

    def _crossings(
        self, hosts: Hosts, node: str, fields: CaseFields, packet: Packet, at: str
    ) -> tuple[Crossing, ...]:
        for name, interface in (("interface", fields.interface), ("toInterface", fields.to_interface)):
            known = {each.name for each in hosts.facts(node).interfaces}
            if interface and hosts.is_described(node) and interface not in known:
                told = f"{node} has no such interface by its facts"
                self._problems.append(Problem(f"{at}.{name}", told, interface))
        if fields.to_interface and fields.direction != "forward":
            self._problems.append(
                Problem(f"{at}.toInterface", "only what is forwarded leaves by another interface")
            )
        if fields.direction == "ingress":
            return (Crossing(node, fields.interface or inbound(hosts, node, packet), "ingress", packet),)
        if fields.direction == "egress":
            return (Crossing(node, fields.interface or outbound(hosts, node, packet), "egress", packet),)
        destination = ends(packet)[1]
        if is_own(hosts, node, ipaddress.ip_address(str(destination))):
            reason = f"{destination} is an address of {node} itself: that is ingress, nothing is forwarded"
            self._problems.append(Problem(f"{at}.direction", reason, fields.direction))
        enters = fields.interface or inbound(hosts, node, packet)
        leaves = fields.to_interface or outbound(hosts, node, packet)
        return (
            Crossing(node, enters, "ingress", packet),
            Crossing(node, leaves, "egress", packet, received=True),
        )


def interfaces_of(suite: Suite, node: str) -> tuple[str, ...]:
    """Every interface of a node that the suite's cases name."""
    names = {each.interface for case in suite.cases for each in case.crossings if each.node == node}
    return tuple(sorted(names))
