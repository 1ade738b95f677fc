"""Laws of the controller: it converges in one pass, whatever was there and in whatever order it came."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import to_builtins
from msgspec.structs import replace

from pyagent import manifest
from pyagent.controller import reconcile_once
from pyagent.controller.desired import desired_endpoints, is_automatic
from pyagent.errors import ManifestError
from pyagent.model import HostEndpoint, Metadata, Node, Resource
from pyagent.model.config import AutoHostEndpointConfig, HostEndpointTemplate
from tests.support.memory_datastore import MemoryDatastore
from tests.support.resources import controllers_configuration, host_endpoint, node

MARK = {"projectcalico.org/created-by": "calico-kube-controllers"}
NAMES = ("n1", "n1-t", "n2", "t", "n" * 250)
ADDRESSES = ("10.0.0.1", "10.0.0.2", "192.168.1.1", "fd00::1", "nonsense", "")
KEYS = ("role", "zone", "projectcalico.org/created-by")

labels = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["a", "b"]), max_size=2)
addresses = st.lists(st.sampled_from(ADDRESSES), max_size=3)
interfaces = st.lists(
    st.builds(
        lambda name, each: {"name": name, "addresses": each},
        st.sampled_from(["eth0", "eth1", "lo"]),
        addresses,
    ),
    max_size=2,
)


@st.composite
def nodes(draw: st.DrawFn) -> list[Node]:
    return [
        node(
            name,
            *draw(addresses),
            labels=draw(labels),
            annotations={"projectcalico.org/Interfaces": json.dumps(draw(interfaces))},
        )
        for name in draw(st.lists(st.sampled_from(NAMES), unique=True))
    ]


templates = st.lists(
    st.builds(
        HostEndpointTemplate,
        generate_name=st.sampled_from(["t", "u"]),
        interface_cidrs=st.sampled_from([("10.0.0.0/8",), ("0.0.0.0/0", "::/0")]),
        interface_pattern=st.sampled_from(["", "eth", "^lo$"]),
        node_selector=st.sampled_from(["", "role == 'a'", "!has(zone)"]),
        labels=labels,
    ),
    max_size=2,
    unique_by=lambda template: template.generate_name,
).map(tuple)
configs: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "auto_create": st.sampled_from(["Enabled", "Enabled", "Disabled"]),
        "create_default_host_endpoint": st.sampled_from(["Enabled", "Disabled"]),
        "templates": templates,
    }
)
endpoints = st.lists(
    st.builds(
        host_endpoint,
        st.sampled_from(["n1-auto-hep", "n1-t-auto-hep", "n2-t-eth0-auto-hep", "mine", "dangling"]),
        st.sampled_from(["n1", "n2", "gone"]),
        st.sampled_from([{}, MARK, {"role": "a"} | MARK]),
    ),
    max_size=4,
    unique_by=lambda endpoint: endpoint.name,
)


def filled(resources: list[Resource], config: dict[str, Any]) -> MemoryDatastore:
    store = MemoryDatastore()
    for resource in (*resources, controllers_configuration(**config)):
        store.create(resource)
    return store


def meaning(store: MemoryDatastore) -> list[Any]:
    """Every endpoint without what the store assigns."""
    return [
        to_builtins(replace(each, metadata=Metadata(name=each.name, labels=each.metadata.labels)))
        for each in store.list("HostEndpoint")[0]
    ]


@settings(deadline=None)
@given(nodes(), configs, endpoints)
def test_a_second_pass_changes_nothing(
    existing: list[Node], config: dict[str, Any], before: list[HostEndpoint]
) -> None:
    store = filled([*existing, *before], config)
    reconcile_once(store, {})
    revision = store.list("HostEndpoint")[1]
    again = reconcile_once(store, {})
    assert not again.changed
    assert store.list("HostEndpoint")[1] == revision


@settings(deadline=None)
@given(nodes(), configs, endpoints, st.randoms(use_true_random=False))
def test_the_order_in_which_things_came_makes_no_difference(
    existing: list[Node], config: dict[str, Any], before: list[HostEndpoint], chance: Any
) -> None:
    resources: list[Resource] = [*existing, *before]
    shuffled = list(resources)
    chance.shuffle(shuffled)
    stores = [filled(order, config) for order in (resources, shuffled)]
    for store in stores:
        reconcile_once(store, {})
    assert meaning(stores[0]) == meaning(stores[1])


@settings(deadline=None)
@given(nodes(), configs, endpoints)
def test_afterwards_there_is_what_is_wanted_and_what_is_somebody_elses(
    existing: list[Node], config: dict[str, Any], before: list[HostEndpoint]
) -> None:
    store = filled([*existing, *before], config)
    foreign = {each.name: store.get("HostEndpoint", each.name) for each in before if not is_automatic(each)}
    reconcile_once(store, {})
    wanted = desired_endpoints(existing, AutoHostEndpointConfig(**config)).endpoints
    after = {each.name: each for each in store.list("HostEndpoint")[0]}
    assert after.keys() == wanted.keys() | foreign.keys()
    assert {name: after[name] for name in foreign} == foreign


@settings(deadline=None)
@given(nodes(), configs)
def test_every_endpoint_that_is_wanted_is_a_valid_resource(
    existing: list[Node], config: dict[str, Any]
) -> None:
    for endpoint in desired_endpoints(existing, AutoHostEndpointConfig(**config)).endpoints.values():
        try:
            assert manifest.decode(manifest.encode(endpoint)) == endpoint
        except ManifestError as error:
            raise AssertionError(str(error)) from error
