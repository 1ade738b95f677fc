"""GlobalNetworkPolicy, its staged variant, Tier and Profile."""

from __future__ import annotations

import math

from pyagent.manifest.defaults import BUILT_IN_TIERS
from pyagent.manifest.validation.findings import Findings
from pyagent.manifest.validation.metadata import check_labels, label_name_fault
from pyagent.manifest.validation.rule import check_rule
from pyagent.model import GlobalNetworkPolicy, Profile, StagedGlobalNetworkPolicy, Tier
from pyagent.model.policy import PolicySpec, Rule

MAX_RULES = 1024
DIRECTIONS = ("Ingress", "Egress")
PERFORMANCE_HINTS = ("AssumeNeededOnEveryNode",)
STAGED_ACTIONS = ("Set", "Delete", "Learn", "Ignore")


def check_policy(resource: GlobalNetworkPolicy | StagedGlobalNetworkPolicy, findings: Findings) -> None:
    """Everything about a policy but that its tier exists."""
    spec = resource.spec
    if spec.tier and (fault := label_name_fault(spec.tier)):
        findings.add("spec.tier", fault, spec.tier)
    _check_order(spec.order, findings)
    findings.selector_without_global("spec.selector", spec.selector)
    findings.selector_without_global("spec.namespaceSelector", spec.namespace_selector)
    findings.selector_without_global("spec.serviceAccountSelector", spec.service_account_selector)
    for index, direction in enumerate(spec.types):
        findings.one_of(f"spec.types[{index}]", direction or "''", DIRECTIONS)
    findings.unique("spec.types", spec.types)
    for index, hint in enumerate(spec.performance_hints):
        findings.one_of(f"spec.performanceHints[{index}]", hint or "''", PERFORMANCE_HINTS)
    findings.unique("spec.performanceHints", spec.performance_hints)
    _check_stages(spec, findings)
    _check_staged_action(resource, findings)
    _check_rules(spec.ingress, findings, ingress=True)
    _check_rules(spec.egress, findings, ingress=False)


def _check_stages(spec: PolicySpec, findings: Findings) -> None:
    """What doNotTrack and preDNAT demand and exclude."""
    if spec.do_not_track and spec.pre_dnat:
        findings.add("spec.doNotTrack", "doNotTrack and preDNAT exclude each other", "true")
    if spec.pre_dnat and spec.egress:
        findings.add("spec.egress", "a preDNAT policy cannot have egress rules")
    if spec.pre_dnat and "Egress" in spec.types:
        findings.add("spec.types", "a preDNAT policy cannot have type Egress", ", ".join(spec.types))
    if (spec.do_not_track or spec.pre_dnat) and not spec.apply_on_forward:
        findings.add("spec.applyOnForward", "must be true if doNotTrack or preDNAT is true", "false")


def _check_staged_action(
    resource: GlobalNetworkPolicy | StagedGlobalNetworkPolicy, findings: Findings
) -> None:
    action = resource.spec.staged_action
    if isinstance(resource, StagedGlobalNetworkPolicy):
        findings.one_of("spec.stagedAction", action, STAGED_ACTIONS)
    elif action:
        reason = "field in document is not recognized or is in the wrong location: stagedAction"
        findings.add("spec.stagedAction", reason, action)


def _check_rules(
    rules: tuple[Rule, ...], findings: Findings, *, ingress: bool, of_policy: bool = True
) -> None:
    path = "spec.ingress" if ingress else "spec.egress"
    if findings.at_most(path, rules, MAX_RULES):
        for index, rule in enumerate(rules):
            check_rule(f"{path}[{index}]", rule, findings, ingress=ingress, of_policy=of_policy)


def _check_order(order: float | None, findings: Findings) -> None:
    if order is not None and not math.isfinite(order):
        findings.add("spec.order", "must be a finite number", order)


def check_tier(resource: Tier, findings: Findings) -> None:
    """A tier's order and default action, which are fixed for the built-in tiers."""
    spec = resource.spec
    _check_order(spec.order, findings)
    findings.one_of("spec.defaultAction", spec.default_action, ("Deny", "Pass"))
    built_in = BUILT_IN_TIERS.get(resource.metadata.name)
    if built_in is None or built_in.order is None:
        return
    if spec.order not in {None, built_in.order}:
        reason = f"the order of tier {resource.metadata.name} is always {built_in.order:.0f}"
        findings.add("spec.order", reason, f"{spec.order:g}")
    if spec.default_action in {"Deny", "Pass"} and spec.default_action != built_in.default_action:
        reason = f"the default action of tier {resource.metadata.name} is always {built_in.default_action}"
        findings.add("spec.defaultAction", reason, spec.default_action)


def check_profile(resource: Profile, findings: Findings) -> None:
    """A profile's rules and the labels it gives."""
    check_labels("spec.labelsToApply", resource.spec.labels_to_apply, findings)
    _check_rules(resource.spec.ingress, findings, ingress=True, of_policy=False)
    _check_rules(resource.spec.egress, findings, ingress=False, of_policy=False)
