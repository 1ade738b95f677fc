"""The rights in the manifests: enough for agent and controller, and for nothing else.

The stand-in authorizes by verb and resource: neither the namespace of a Role nor names in a rule count.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
import yaml

from pyagent import manifest
from pyagent.agent.mirror import CLUSTER_KINDS
from pyagent.controller import run
from pyagent.datastore import EventType
from pyagent.datastore.kubernetes import KubernetesDatastore
from pyagent.errors import AutohepError
from pyagent.model import Resource
from tests.kube.conftest import Open
from tests.support.apiserver import ApiServer
from tests.support.candidates import TERMS
from tests.support.resources import controllers_configuration, node

MANIFESTS = Path(__file__).parents[2] / "deploy" / "kustomize" / "base" / "autohep.yaml"
V3 = "projectcalico.org/v3"
HIDDEN = ("secrets", "pods", "configmaps", "nodes/status", "serviceaccounts/token")


def rights_of(account: str) -> frozenset[tuple[str, str]]:
    """What the roles bound to a service account allow."""
    objects = [each for each in yaml.safe_load_all(MANIFESTS.read_text()) if each]
    roles = {(each["kind"], each["metadata"]["name"]): each["rules"] for each in objects if "rules" in each}
    bound = [
        each["roleRef"] for each in objects if any(s["name"] == account for s in each.get("subjects", ()))
    ]
    return frozenset(
        (verb, resource)
        for reference in bound
        for rule in roles[reference["kind"], reference["name"]]
        for verb in rule["verbs"]
        for resource in rule["resources"]
    )


@pytest.fixture
def as_account(server: ApiServer, open_store: Open) -> Callable[[str], KubernetesDatastore]:
    def open_as(account: str) -> KubernetesDatastore:
        server.users[account] = rights_of(account)
        return open_store(account)

    return open_as


def endpoint(name: str = "n1") -> Resource:
    spec = {"node": name, "interfaceName": "*"}
    kind = {"apiVersion": "projectcalico.org/v3", "kind": "HostEndpoint"}
    return manifest.decode({**kind, "metadata": {"name": name}, "spec": spec})


async def test_the_agent_watches_all_it_needs_and_writes_the_status_of_host_endpoints(
    open_store: Open, as_account: Callable[[str], KubernetesDatastore]
) -> None:
    admin = open_store()
    admin.create(endpoint())
    agent = as_account("autohep-agent")
    async with asyncio.timeout(20), aclosing(agent.watch(CLUSTER_KINDS)) as events:
        async for event in events:
            if event.type is EventType.SYNCED:
                break
    stored = agent.get("HostEndpoint", "n1")
    agent.update_status(msgspec.structs.replace(stored, status={"observed": "it"}))  # type: ignore[call-arg]
    assert admin.get("HostEndpoint", "n1").status["observed"] == "it"  # type: ignore[attr-defined]


def refused(act: Callable[[], object]) -> bool:
    try:
        act()
    except AutohepError as error:
        return "403" in str(error) or "cannot" in str(error)
    return False


def test_the_agent_may_write_nothing_else(
    open_store: Open, as_account: Callable[[str], KubernetesDatastore]
) -> None:
    admin, agent = open_store(), as_account("autohep-agent")
    configuration: Resource = controllers_configuration(auto_create="Enabled")
    for wanted in (endpoint(), configuration):
        assert refused(lambda wanted=wanted: agent.create(wanted)), wanted.kind
        admin.create(wanted)
        stored = admin.get(wanted.kind, wanted.name)
        assert refused(lambda stored=stored: agent.update(stored)), wanted.kind
        assert refused(lambda wanted=wanted: agent.delete(wanted.kind, wanted.name)), wanted.kind
        admin.update(stored)
    assert refused(lambda: agent.list("Node"))
    assert not refused(lambda: admin.list("Node"))
    assert not refused(lambda: agent.list("HostEndpoint"))


@pytest.mark.parametrize("account", ["autohep-agent", "autohep-controller"])
def test_neither_sees_what_is_none_of_its_business(account: str) -> None:
    rights = rights_of(account)
    assert ("watch", "hostendpoints") in rights
    assert [
        (verb, resource) for verb, resource in rights if resource in HIDDEN or "*" in verb + resource
    ] == []


def test_the_agent_changes_only_statuses_of_host_endpoints() -> None:
    writing = {
        (verb, what) for verb, what in rights_of("autohep-agent") if verb not in ("get", "list", "watch")
    }
    assert writing == {("update", "hostendpoints/status"), ("patch", "hostendpoints/status")}


async def test_the_controller_does_all_its_work_with_the_rights_it_has(
    server: ApiServer, open_store: Open, as_account: Callable[[str], KubernetesDatastore]
) -> None:
    admin = open_store()
    admin.create(controllers_configuration(auto_create="Enabled"))
    admin.create(node("n1", "192.0.2.1"))
    denied: list[str] = []
    server.users["autohep-controller"] = _Noting(rights_of("autohep-controller"), denied)
    task = asyncio.create_task(run(open_store("autohep-controller"), environment={}, terms=TERMS))
    try:
        async with asyncio.timeout(20):
            while not await asyncio.to_thread(_protected, admin):  # noqa: ASYNC110 (a test's wait)
                await asyncio.sleep(0.05)
        await asyncio.to_thread(admin.delete, "Node", "n1")
        async with asyncio.timeout(20):
            while admin.list("HostEndpoint")[0]:  # noqa: ASYNC110 (a test's wait)
                await asyncio.sleep(0.05)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert denied == []


async def test_the_controller_may_say_on_every_kind_that_an_object_is_invalid_and_tell_of_it(
    server: ApiServer, open_store: Open
) -> None:
    kinds = server.storage.kinds
    for key, kind in kinds.items():
        if kind.custom:
            kinds[key] = replace(kind, schema=None)
    denied: list[str] = []
    server.users["autohep-controller"] = _Noting(rights_of("autohep-controller"), denied)
    broken = sorted(kind.plural for key, kind in kinds.items() if key[0] == V3)
    for plural in broken:
        name = "default" if plural == "kubecontrollersconfigurations" else "broken"
        server.storage.create(kinds[V3, plural], "", {"metadata": {"name": name}, "spec": 7})

    def unsaid() -> list[str]:
        return [
            plural
            for plural in broken
            if not any("conditions" in (each.get("status") or {}) for each in _all(server, V3, plural))
        ]

    task = asyncio.create_task(run(open_store("autohep-controller"), environment={}, terms=TERMS))
    try:
        async with asyncio.timeout(20):
            while unsaid() or len(_all(server, "v1", "events")) < len(broken):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"not said of {unsaid()}, denied {denied}")
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert denied == []
    assert "felixconfigurations" in broken
    assert len(broken) == 8


def _all(server: ApiServer, version: str, plural: str) -> list[dict[str, Any]]:
    return server.storage.list(server.storage.kind(version, plural), "")[0]


def _protected(admin: KubernetesDatastore) -> bool:
    names = {each.name for each in admin.list("HostEndpoint")[0]}
    return names == {"n1-auto-hep"} and bool(admin.list("ClusterServices")[0])


class _Noting(frozenset[tuple[str, str]]):
    """Rights that note what was asked for in vain."""

    denied: list[str]

    def __new__(cls, rights: frozenset[tuple[str, str]], denied: list[str]) -> Self:
        made = super().__new__(cls, rights)
        made.denied = denied
        return made

    def __contains__(self, right: object) -> bool:
        found = super().__contains__(right)
        if not found:
            self.denied.append(str(right))
        return found
