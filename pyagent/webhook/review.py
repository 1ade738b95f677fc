"""An AdmissionReview answered: a pure function of the object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from pyagent import manifest
from pyagent.errors import AutohepError, ManifestError
from pyagent.inquiry.sources import Sources
from pyagent.lint import Check, lint
from pyagent.model import CALICO_V3, KINDS, GlobalNetworkPolicy, Resource, StagedGlobalNetworkPolicy
from pyagent.model.policy import EntityRule

_API_VERSION: Final = "admission.k8s.io/v1"
#: What can be said of one policy by itself, and of how many rules that is worth the time.
_ALONE: Final = frozenset({Check.SHADOWED, Check.CONTRADICTING, Check.REDUNDANT})
_RULES_MAX: Final = 100
#: Kubernetes shows warnings of 256 characters each.
_WARNING: Final = 256
_WARNINGS_MAX: Final = 10


class _Request(msgspec.Struct):
    uid: str
    operation: str = ""
    object: Any = None


class _Review(msgspec.Struct):
    request: _Request


def review(body: bytes) -> dict[str, Any]:
    """The AdmissionReview that answers ``body``. Raises ValueError if that is none.

    Only what is wrong for sure is refused, with every problem at once; what is of another kind is not our
    business.
    """
    try:
        request = msgspec.json.decode(body, type=_Review).request
    except msgspec.MsgspecError as error:
        raise ValueError(f"no AdmissionReview: {error}") from error
    answer: dict[str, Any] = {"uid": request.uid, "allowed": True}
    given = request.object
    if request.operation in ("CREATE", "UPDATE") and isinstance(given, Mapping) and _is_ours(given):
        answer |= _judged(dict(given))
    return {"apiVersion": _API_VERSION, "kind": "AdmissionReview", "response": answer}


def _is_ours(given: Mapping[str, Any]) -> bool:
    return given.get("apiVersion") == CALICO_V3 and given.get("kind") in KINDS


def _judged(given: dict[str, Any]) -> dict[str, Any]:
    metadata = given.get("metadata")
    if isinstance(metadata, dict):
        given["metadata"] = {name: each for name, each in metadata.items() if name != "managedFields"}
    try:
        resource = manifest.decode(given)
    except ManifestError as error:
        return {"allowed": False, "status": _status(error)}
    warnings = _warnings(resource)
    return {"warnings": warnings} if warnings else {}


def _status(error: ManifestError) -> dict[str, Any]:
    causes = [
        {"reason": "FieldValueInvalid", "field": problem.path, "message": problem.reason}
        for problem in error.problems
    ]
    message = "; ".join(map(str, error.problems))
    return {"code": 422, "reason": "Invalid", "message": message, "details": {"causes": causes}}


def _warnings(resource: Resource) -> list[str]:
    if not isinstance(resource, GlobalNetworkPolicy | StagedGlobalNetworkPolicy):
        return []
    rules = (*resource.spec.ingress, *resource.spec.egress)
    if len(rules) > _RULES_MAX or any(
        _needs_others(side) for rule in rules for side in (rule.source, rule.destination)
    ):
        return []
    try:
        found = lint(Sources((resource,)), (resource,))
    except AutohepError:
        return []
    texts = [f"{each.place}: {each.message}"[:_WARNING] for each in found if each.check in _ALONE]
    return texts[:_WARNINGS_MAX]


def _needs_others(side: EntityRule) -> bool:
    """Whether a peer means something only beside other objects."""
    return bool(side.selector or side.not_selector or side.services or side.namespace_selector)
