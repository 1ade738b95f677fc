"""CustomResourceDefinitions: names, columns, and the schema of each kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyagent.crds.schema import Schema, struct_schema
from pyagent.manifest import dump_yaml
from pyagent.model import KINDS, Resource
from pyagent.model.status import HostEndpointStatus, PolicyStatus, Status

_HEADER = "# Made from pyagent/model by `make crds`; edit that, not this.\n"
_META = frozenset({"api_version", "kind", "metadata", "status"})
_OPEN = "x-kubernetes-preserve-unknown-fields"
#: What is written into the statuses of kinds.
_STATUSES: dict[str, type[Status]] = {
    "HostEndpoint": HostEndpointStatus,
    "GlobalNetworkPolicy": PolicyStatus,
    "StagedGlobalNetworkPolicy": PolicyStatus,
}
_AGE = ("Age", ".metadata.creationTimestamp", "date")


@dataclass(frozen=True, slots=True)
class Presentation:
    """How kubectl calls and shows a kind: short names, and columns as (name, path, type)."""

    short_names: tuple[str, ...] = ()
    columns: tuple[tuple[str, str, str], ...] = ()
    #: Further ones, with ``-o wide``.
    wide: tuple[tuple[str, str, str], ...] = ()


_POLICY_COLUMNS = (
    ("Tier", ".spec.tier", "string"),
    ("Order", ".spec.order", "number"),
    ("Selected", ".status.selected", "integer"),
    ("Realized", ".status.summary", "string"),
)
_SELECTOR = (("Selector", ".spec.selector", "string"),)

PRESENTATIONS = {
    "HostEndpoint": Presentation(
        ("hep", "heps"),
        (
            ("Node", ".spec.node", "string"),
            ("Interface", ".spec.interfaceName", "string"),
            ("IPs", ".spec.expectedIPs", "string"),
            ("Protected", ".status.conditions[?(@.type=='Protected')].status", "string"),
            ("Generation", ".status.generation", "integer"),
        ),
    ),
    "GlobalNetworkPolicy": Presentation(("gnp", "gnps"), _POLICY_COLUMNS, _SELECTOR),
    "StagedGlobalNetworkPolicy": Presentation(
        ("sgnp", "sgnps"), (*_POLICY_COLUMNS, ("Action", ".spec.stagedAction", "string")), _SELECTOR
    ),
    "GlobalNetworkSet": Presentation(("gns", "gnetsets"), (("Nets", ".spec.nets", "string"),)),
    "Tier": Presentation(
        (), (("Order", ".spec.order", "number"), ("DefaultAction", ".spec.defaultAction", "string"))
    ),
    "Profile": Presentation(),
    "KubeControllersConfiguration": Presentation(
        ("kcc", "kubecontrollersconfig"),
        (("AutoCreate", ".status.runningConfig.controllers.node.hostEndpoint.autoCreate", "string"),),
    ),
    "FelixConfiguration": Presentation(("felixconfig",)),
    "ClusterServices": Presentation(
        ("clustersvc",),
        (("Complete", ".status.conditions[?(@.type=='Complete')].status", "string"),),
    ),
}


def definitions() -> list[dict[str, Any]]:
    """The definition of every kind of ours, by name."""
    return [definition(KINDS[kind]) for kind in sorted(PRESENTATIONS)]


def files() -> dict[str, str]:
    """The files to install, by name."""
    return {
        f"{each['spec']['group']}_{each['spec']['names']['plural']}.yaml": _HEADER + dump_yaml(each)
        for each in definitions()
    }


def definition(kind: type[Resource]) -> dict[str, Any]:
    """The CustomResourceDefinition of one kind."""
    group, _, version = kind.API_VERSION.partition("/")
    presentation = PRESENTATIONS[kind.KIND]
    names: dict[str, Any] = {
        "kind": kind.KIND,
        "listKind": f"{kind.KIND}List",
        "plural": kind.PLURAL,
        "singular": kind.KIND.lower(),
        "categories": ["autohep"],
    }
    if presentation.short_names:
        names["shortNames"] = list(presentation.short_names)
    columns: list[dict[str, Any]] = [
        {"name": name, "jsonPath": path, "type": type_} for name, path, type_ in (*presentation.columns, _AGE)
    ]
    columns += [
        {"name": name, "jsonPath": path, "type": type_, "priority": 1}
        for name, path, type_ in presentation.wide
    ]
    served = {
        "name": version,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": _schema(kind)},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.PLURAL}.{group}"},
        "spec": {
            "group": group,
            "names": names,
            "scope": "Namespaced" if kind.NAMESPACED else "Cluster",
            "versions": [served],
        },
    }


def _schema(kind: type[Resource]) -> Schema:
    schema = struct_schema(kind, leave_out=_META)
    schema["properties"] |= {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "status": _status(kind),
    }
    return schema


def _status(kind: type[Resource]) -> Schema:
    """What this release writes, with its types; whatever another one writes besides stays, too."""
    written = _STATUSES.get(kind.KIND)
    return _opened(struct_schema(written)) if written else {"type": "object", _OPEN: True}


def _opened(schema: Schema) -> Schema:
    if "properties" in schema:
        opened = {name: _opened(inner) for name, inner in schema["properties"].items()}
        return {**schema, "properties": opened, _OPEN: True}
    return {**schema, "items": _opened(schema["items"])} if "items" in schema else schema
