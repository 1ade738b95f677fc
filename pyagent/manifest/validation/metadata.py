"""Names, labels and annotations, as Kubernetes and upstream restrict them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pyagent.manifest.paths import child
from pyagent.manifest.validation.findings import Findings
from pyagent.model import GlobalNetworkPolicy, GlobalNetworkSet, Resource, StagedGlobalNetworkPolicy, Tier

MAX_NAME = 253
MAX_LABEL = 63
MAX_ANNOTATIONS = 256 * 1024
NAMESPACE_LABEL = "projectcalico.org/namespace"

_DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*")
_LABEL = re.compile(_DNS_LABEL)
_POLICY_NAME = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})?")
_QUALIFIED_PART = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*")

_NAME_REASON = "must be lower case letters, digits, '-' and '.', beginning and ending with a letter or digit"


def name_fault(name: str) -> str:
    """Why ``name`` is no resource name (DNS-1123 subdomain); empty when it is one."""
    if len(name) > MAX_NAME:
        return f"has {len(name)} characters, the most is {MAX_NAME}"
    return "" if _SUBDOMAIN.fullmatch(name) else _NAME_REASON


def label_name_fault(name: str) -> str:
    """Why ``name`` is no DNS label; empty when it is one."""
    if len(name) > MAX_LABEL:
        return f"has {len(name)} characters, the most is {MAX_LABEL}"
    return "" if _LABEL.fullmatch(name) else _NAME_REASON.replace(" and '.'", "").replace(", '-'", " and '-'")


def is_port_name(name: str) -> bool:
    """Whether Kubernetes accepts ``name`` for a port: up to 15 of a-z, 0-9 and single '-', with a letter."""
    return len(name) <= 15 and _PORT_NAME.fullmatch(name) is not None


def key_fault(key: str) -> str:
    """Why ``key`` is no qualified name (``[prefix/]name``); empty when it is one."""
    prefix, slash, name = key.rpartition("/")
    if slash and name_fault(prefix):
        return "the part before '/' must be a DNS subdomain"
    if len(name) > MAX_LABEL:
        return f"the name has {len(name)} characters, the most is {MAX_LABEL}"
    if not _QUALIFIED_PART.fullmatch(name):
        return "must be letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
    return ""


def check_labels(path: str, labels: Mapping[str, str], findings: Findings) -> None:
    """Label keys are qualified names and values at most 63 characters."""
    for key, value in labels.items():
        if fault := key_fault(key):
            findings.add(child(path, key), f"label key {key!r}: {fault}")
        if len(value) > MAX_LABEL:
            findings.add(child(path, key), f"has {len(value)} characters, the most is {MAX_LABEL}", value)


def check_annotations(path: str, annotations: Mapping[str, str], findings: Findings) -> None:
    """Annotation keys are qualified names (in lower case); all together are at most 256 KiB."""
    for key in annotations:
        if fault := key_fault(key.lower()):
            findings.add(child(path, key), f"annotation key {key!r}: {fault}")
    size = sum(len(text.encode("utf-8", "surrogatepass")) for pair in annotations.items() for text in pair)
    if size > MAX_ANNOTATIONS:
        findings.add(path, f"take {size} bytes, the most is {MAX_ANNOTATIONS}")


def check_metadata(resource: Resource, findings: Findings) -> None:
    """The rules of ``metadata`` that hold for the resource's kind."""
    metadata = resource.metadata
    _check_name(resource, findings)
    if metadata.namespace and not resource.NAMESPACED:
        findings.add("metadata.namespace", f"{resource.KIND} is not in a namespace", metadata.namespace)
    if metadata.labels:
        check_labels("metadata.labels", metadata.labels, findings)
        if isinstance(resource, GlobalNetworkSet) and NAMESPACE_LABEL in metadata.labels:
            findings.add(
                child("metadata.labels", NAMESPACE_LABEL),
                "is not allowed on a GlobalNetworkSet",
                metadata.labels[NAMESPACE_LABEL],
            )
    if metadata.annotations:
        check_annotations("metadata.annotations", metadata.annotations, findings)


def _check_name(resource: Resource, findings: Findings) -> None:
    name = resource.metadata.name
    if not name:
        findings.add("metadata.name", "name is required")
    elif isinstance(resource, Tier):
        if fault := label_name_fault(name):
            findings.add("metadata.name", fault, name)
    elif fault := name_fault(name):
        findings.add("metadata.name", fault, name)
    elif isinstance(resource, GlobalNetworkPolicy | StagedGlobalNetworkPolicy) and not _POLICY_NAME.fullmatch(
        name
    ):
        findings.add("metadata.name", "may have one '.', behind the tier's name", name)
