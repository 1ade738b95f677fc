"""One pass of the controller: compare what there should be with what there is, and write the difference."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from pyagent.controller.decision import Action, decide, successor
from pyagent.controller.desired import desired_endpoints
from pyagent.controller.predefined import predefined
from pyagent.controller.settings import Environment, host_endpoint_config, status_of
from pyagent.datastore import Datastore
from pyagent.errors import AlreadyExistsError, AutohepError, ConflictError, NotFoundError
from pyagent.model import HostEndpoint, KubeControllersConfiguration, Node, Profile, Resource, Tier

log = logging.getLogger(__name__)

#: Every kind that the controller looks at.
KINDS = (Node.KIND, HostEndpoint.KIND, KubeControllersConfiguration.KIND, Tier.KIND, Profile.KIND)
CONFIGURATION = "default"
#: How often one endpoint is read again because somebody else was quicker.
_ATTEMPTS = 5


@dataclass(slots=True)
class Report:
    """What one pass did, by name. ``failed`` are pairs of name and reason; they are worth another try."""

    predefined: list[str] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    #: The host endpoints created, updated and deleted, as they are or were.
    written: list[tuple[Action, HostEndpoint]] = field(default_factory=list)
    status_written: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.predefined or self.created or self.updated or self.deleted or self.status_written)


class State:
    """The resources that the controller looks at, as far as it knows them."""

    def __init__(self, resources: Mapping[tuple[str, str], Resource]) -> None:
        self._resources = dict(resources)

    @classmethod
    def read(cls, datastore: Datastore) -> State:
        """All of them, as they are now."""
        # Where whole objects are large, the datastore offers only what is looked at here.
        read = getattr(datastore, "glance", datastore.list)
        return cls({(kind, each.name): each for kind in KINDS for each in read(kind)[0]})

    def has(self, kind: str, name: str) -> bool:
        """Whether there is such a resource."""
        return (kind, name) in self._resources

    def put(self, resource: Resource) -> None:
        """Remember a resource as it is now."""
        self._resources[resource.kind, resource.name] = resource

    def drop(self, kind: str, name: str) -> None:
        """Remember that there is no such resource."""
        self._resources.pop((kind, name), None)

    def nodes(self) -> list[Node]:
        """Every node."""
        return [each for each in self._resources.values() if isinstance(each, Node)]

    def endpoints(self) -> dict[str, HostEndpoint]:
        """Every host endpoint by name."""
        return {each.name: each for each in self._resources.values() if isinstance(each, HostEndpoint)}

    def endpoint(self, name: str) -> HostEndpoint | None:
        """One host endpoint."""
        found = self._resources.get((HostEndpoint.KIND, name))
        return found if isinstance(found, HostEndpoint) else None

    def configuration(self) -> KubeControllersConfiguration | None:
        """The controllers' configuration."""
        found = self._resources.get((KubeControllersConfiguration.KIND, CONFIGURATION))
        return found if isinstance(found, KubeControllersConfiguration) else None


def reconcile_once(datastore: Datastore, environment: Mapping[str, str] | None = None) -> Report:
    """Read everything, write the difference, and return what was done. Doing it again changes nothing.

    ``environment``: the process's own unless given. Raises SettingsError for a bad environment variable and
    DatastoreError if the datastore cannot be read; a single resource that cannot be written is only reported.
    """
    reconciler = Reconciler(datastore, Environment.read(os.environ if environment is None else environment))
    return reconciler.reconcile(State.read(datastore))


class Reconciler:
    """Passes over one datastore; remembers between them only which remarks were logged already."""

    def __init__(self, datastore: Datastore, environment: Environment) -> None:
        self._datastore = datastore
        self._environment = environment
        self._remarked: frozenset[str] = frozenset()

    def forget_remarks(self) -> None:
        """Log remarks that still hold once more, at the next pass."""
        self._remarked = frozenset()

    def reconcile(self, state: State) -> Report:
        """One pass over ``state``, which may lag behind the datastore: that checks every write."""
        report = Report()
        try:
            self._write_predefined(state, report)
            configuration = self._configuration(state)
            desired = desired_endpoints(
                state.nodes(), host_endpoint_config(configuration.spec, self._environment)
            )
        except AutohepError as error:
            # Without a configuration that can be read, nothing is known about any endpoint: leave them as
            # they are.
            log.error("host endpoints left as they are reason=%r", str(error))
            report.failed.append((CONFIGURATION, str(error)))
            return report
        nodes = frozenset(node.name for node in state.nodes())
        # What is wanted comes first, so that no node is without an endpoint between an old one and its
        # successor.
        unwanted = sorted(state.endpoints().keys() - desired.endpoints.keys())
        for name in (*desired.endpoints, *unwanted):
            self._settle(name, desired.endpoints.get(name), nodes, state, report)
        foreign = (f"somebody else's host endpoint left alone name={name}" for name in report.foreign)
        self._remark((*desired.remarks, *foreign))
        # Last, so that whoever sees the new configuration in the status also sees its endpoints.
        self._write_status(configuration, state, report)
        return report

    def _settle(
        self, name: str, wanted: HostEndpoint | None, nodes: frozenset[str], state: State, report: Report
    ) -> None:
        """Take one endpoint to what it should be, however often somebody else interferes."""
        for _ in range(_ATTEMPTS):
            current = state.endpoint(name)
            action = decide(wanted, current, nodes)
            if action is Action.FOREIGN:
                report.foreign.append(name)
            if action in (Action.FOREIGN, Action.KEEP):
                return
            try:
                if not self._act(action, wanted, current, state, report):
                    self._read_again(name, state)
            except AutohepError as error:
                self._fail(name, action, str(error), report)
                return
        if decide(wanted, state.endpoint(name), nodes) is not Action.KEEP:
            self._fail(name, Action.UPDATE, "somebody else keeps changing it", report)

    def _act(
        self,
        action: Action,
        wanted: HostEndpoint | None,
        current: HostEndpoint | None,
        state: State,
        report: Report,
    ) -> bool:
        """Write one step and remember it; False if somebody else was quicker, and nothing was written."""
        try:
            self._write(action, wanted, current, state, report)
        except (AlreadyExistsError, ConflictError, NotFoundError):
            return False
        return True

    def _write(
        self,
        action: Action,
        wanted: HostEndpoint | None,
        current: HostEndpoint | None,
        state: State,
        report: Report,
    ) -> None:
        if action is Action.DELETE and current is not None:
            version = current.metadata.resource_version
            self._datastore.delete(HostEndpoint.KIND, current.name, resource_version=version)
            state.drop(HostEndpoint.KIND, current.name)
            report.deleted.append(current.name)
            report.written.append((action, current))
            log.info("host endpoint deleted name=%s node=%s", current.name, current.spec.node)
        elif wanted is not None and current is None:
            created = self._datastore.create(wanted)
            state.put(created)
            report.created.append(wanted.name)
            report.written.append((action, created))
            _log_written("created", wanted)
        elif wanted is not None and current is not None:
            updated = self._datastore.update(successor(wanted, current))
            state.put(updated)
            report.updated.append(wanted.name)
            report.written.append((action, updated))
            _log_written("updated", wanted)

    def _read_again(self, name: str, state: State) -> None:
        try:
            state.put(self._datastore.get(HostEndpoint.KIND, name))
        except NotFoundError:
            state.drop(HostEndpoint.KIND, name)

    def _fail(self, name: str, action: Action, reason: str, report: Report) -> None:
        report.failed.append((name, reason))
        log.error("host endpoint not written name=%s action=%s reason=%r", name, action.name.lower(), reason)

    def _write_predefined(self, state: State, report: Report) -> None:
        for resource in predefined():
            if state.has(resource.kind, resource.name):
                continue
            try:
                state.put(self._create_or_get(resource, report))
            except AutohepError as error:
                report.failed.append((resource.name, str(error)))
                log.warning(
                    "predefined resource not written kind=%s name=%s reason=%r",
                    resource.kind,
                    resource.name,
                    str(error),
                )

    def _create_or_get(self, resource: Resource, report: Report) -> Resource:
        try:
            created = self._datastore.create(resource)
        except AlreadyExistsError:
            return self._datastore.get(resource.kind, resource.name)
        report.predefined.append(f"{resource.kind}/{resource.name}")
        log.info("predefined resource created kind=%s name=%s", resource.kind, resource.name)
        return created

    def _configuration(self, state: State) -> KubeControllersConfiguration:
        configuration = state.configuration()
        if configuration is None:
            raise NotFoundError(KubeControllersConfiguration.KIND, CONFIGURATION)
        return configuration

    def _write_status(
        self, configuration: KubeControllersConfiguration, state: State, report: Report
    ) -> None:
        """Show in the status what is in force."""
        status = status_of(configuration.spec, self._environment)
        if configuration.status is not None:
            status = replace(status, conditions=configuration.status.conditions)
        if configuration.status == status:
            return
        try:
            state.put(self._datastore.update_status(replace(configuration, status=status)))
        except AutohepError as error:
            report.failed.append((CONFIGURATION, str(error)))
            log.warning("status not written kind=%s reason=%r", configuration.kind, str(error))
            return
        report.status_written = True
        auto_create = host_endpoint_config(configuration.spec, self._environment).auto_create
        log.info("status written kind=%s autoCreate=%s", configuration.kind, auto_create)

    def _remark(self, remarks: tuple[str, ...]) -> None:
        for remark in remarks:
            if remark not in self._remarked:
                log.warning("%s", remark)
        self._remarked = frozenset(remarks)


def _log_written(verb: str, endpoint: HostEndpoint) -> None:
    spec = endpoint.spec
    log.info(
        "host endpoint %s name=%s node=%s interface=%s expectedIPs=%s",
        verb,
        endpoint.name,
        spec.node,
        spec.interface_name or "(by address)",
        ",".join(spec.expected_ips),
    )
