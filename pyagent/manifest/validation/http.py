"""A rule's HTTP criteria: checked as upstream does, though a packet filter ignores them."""

from __future__ import annotations

from pyagent.manifest.validation.findings import Findings
from pyagent.model.policy import HTTPMatch, HTTPPath, Rule


def check_http(path: str, rule: Rule, http: HTTPMatch, findings: Findings, *, ingress: bool) -> None:
    """HTTP criteria stand in ingress Allow rules for TCP only; methods are unique, paths well formed."""
    if rule.action != "Allow":
        findings.add(f"{path}.http", "can only be used with action Allow")
    if rule.protocol not in {None, "TCP", 6}:
        findings.add(f"{path}.http", "can only be used with protocol TCP")
    if not ingress:
        findings.add(f"{path}.http", "can only be used in ingress rules")
    findings.unique(f"{path}.http.methods", http.methods)
    for index, http_path in enumerate(http.paths):
        _check_path(f"{path}.http.paths[{index}]", http_path, findings)


def _check_path(path: str, http_path: HTTPPath, findings: Findings) -> None:
    if bool(http_path.exact) == bool(http_path.prefix):
        findings.add(path, "must have either exact or prefix")
        return
    name, text = ("exact", http_path.exact) if http_path.exact else ("prefix", http_path.prefix)
    if not text.startswith("/"):
        findings.add(f"{path}.{name}", "must begin with /", text)
    if any(character in "?#" or character.isspace() for character in text):
        findings.add(f"{path}.{name}", "must not contain ?, # or a blank", text)
