"""Which host endpoints there should be: a pure function of the nodes and the configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pyagent import selector
from pyagent.controller.addresses import Remark, expected_ips, interfaces, within
from pyagent.controller.naming import endpoint_name
from pyagent.errors import AutohepError
from pyagent.model import CALICO_V3, HostEndpoint, Metadata, Node
from pyagent.model.config import AutoHostEndpointConfig, HostEndpointTemplate
from pyagent.model.endpoint import HostEndpointSpec

CREATED_BY = "projectcalico.org/created-by"
CREATOR = "calico-kube-controllers"
DEFAULT_PROFILE = "projectcalico-default-allow"
ALL_INTERFACES = "*"
NO_TEMPLATE = HostEndpointTemplate()


@dataclass(frozen=True, slots=True)
class Desired:
    """The endpoints by name, and what a person should know of the nodes and templates behind them."""

    endpoints: dict[str, HostEndpoint]
    remarks: tuple[str, ...]


def desired_endpoints(nodes: Iterable[Node], config: AutoHostEndpointConfig) -> Desired:
    """What the controller should have made of ``nodes``; the result does not depend on their order.

    Where two would have one name, a default endpoint goes before a template's, then the first node, then
    the first template. Raises AutohepError if a template cannot be used: nothing should be changed on
    such a configuration.
    """
    remarks: dict[str, None] = {}

    def remark(text: str) -> None:
        remarks[text] = None

    endpoints: dict[str, HostEndpoint] = {}
    if config.auto_create == "Enabled":
        ordered = sorted(nodes, key=lambda node: node.name)
        for endpoint in _endpoints(ordered, config, remark):
            first = endpoints.setdefault(endpoint.name, endpoint)
            if first is not endpoint:
                remark(
                    f"two endpoints of one name, first kept name={endpoint.name} node={endpoint.spec.node}"
                )
    return Desired(endpoints, tuple(remarks))


def is_automatic(endpoint: HostEndpoint) -> bool:
    """Whether an endpoint says that the controller made it."""
    return endpoint.metadata.labels.get(CREATED_BY) == CREATOR


def _endpoints(nodes: list[Node], config: AutoHostEndpointConfig, remark: Remark) -> Iterator[HostEndpoint]:
    if config.create_default_host_endpoint != "Disabled":
        for node in nodes:
            yield _endpoint(node, endpoint_name(node.name), ALL_INTERFACES, expected_ips(node, remark))
    recipes = [_Recipe(template) for template in config.templates]
    for node in nodes:
        for recipe in recipes:
            yield from recipe.endpoints(node, remark)


class _Recipe:
    """A template, ready for use."""

    def __init__(self, template: HostEndpointTemplate) -> None:
        self._template = template
        self._selector = selector.parse(template.node_selector)
        try:
            self._pattern = re.compile(template.interface_pattern)
            within((), template.interface_cidrs)
        except (re.error, ValueError) as error:
            msg = f"template {template.generate_name}: {error}"
            raise AutohepError(msg) from error

    def endpoints(self, node: Node, remark: Remark) -> Iterator[HostEndpoint]:
        """What the template makes of one node: one endpoint by addresses, or one an interface."""
        template = self._template
        if not self._selector.matches(node.metadata.labels):
            return
        self._remark_overrides(node, remark)
        addresses = within(expected_ips(node, remark), template.interface_cidrs)
        if template.interface_pattern:
            for interface in interfaces(node, remark):
                if self._pattern.search(interface.name):
                    name = endpoint_name(node.name, template.generate_name, interface.name)
                    unique = tuple(dict.fromkeys((*addresses, *interface.addresses)))
                    yield _endpoint(node, name, interface.name, unique, template)
        elif addresses:
            # Without an interface's name the addresses select it; with neither it would be no endpoint.
            yield _endpoint(node, endpoint_name(node.name, template.generate_name), "", addresses, template)

    def _remark_overrides(self, node: Node, remark: Remark) -> None:
        template, has = self._template, node.metadata.labels
        for key in sorted(key for key, value in template.labels.items() if has.get(key, value) != value):
            remark(f"template wins over label node={node.name} label={key} template={template.generate_name}")


def _endpoint(
    node: Node,
    name: str,
    interface: str,
    addresses: tuple[str, ...],
    template: HostEndpointTemplate = NO_TEMPLATE,
) -> HostEndpoint:
    return HostEndpoint(
        api_version=CALICO_V3,
        kind=HostEndpoint.KIND,
        metadata=Metadata(
            name=name,
            labels={**node.metadata.labels, **template.labels, CREATED_BY: CREATOR},
            annotations=dict(template.annotations),
        ),
        spec=HostEndpointSpec(
            node=node.name, interface_name=interface, expected_ips=addresses, profiles=(DEFAULT_PROFILE,)
        ),
    )
