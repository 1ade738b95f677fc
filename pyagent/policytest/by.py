"""``by``: what a case says decided, and whether it did."""

from __future__ import annotations

import re
from typing import Final

from pyagent.abi import Reason
from pyagent.calc import World
from pyagent.model import GlobalNetworkPolicy, Profile
from pyagent.reference import Decision, Looked

FAILSAFE, PROFILE, DEFAULT = "failsafe", "profile", "default"
#: Reasons that no rule gives, by the word for each.
_WITHOUT_RULE: Final = {
    each.name.lower().replace("_", "-"): each
    for each in (
        Reason.FLOW,
        Reason.RELATED,
        Reason.FAILSAFE,
        Reason.FORWARD_NONE,
        Reason.OWN_POD,
        Reason.POD_ACCEPT,
        Reason.POD_DROP,
        Reason.NEIGHBOUR,
        Reason.TUNNEL,
        Reason.NO_ENDPOINT,
        Reason.EXCLUDED,
    )
}
#: What may stand in ``by`` beside names of policies and profiles.
WORDS: Final = (PROFILE, DEFAULT, *_WITHOUT_RULE)
_RULE: Final = re.compile(r"(?P<owner>[^/]+)/(?:(?P<direction>ingress|egress)\[)?(?P<index>\d+)\]?")


def check_by(text: str, direction: str, world: World) -> str:
    """Why ``text`` cannot be what decides a packet in ``direction``; empty: it can."""
    if not text or text in WORDS:
        return ""
    policies, profiles = world.of(GlobalNetworkPolicy), world.of(Profile)
    rule = _RULE.fullmatch(text)
    owner = rule["owner"] if rule else text
    found = policies.get(owner) or profiles.get(owner)
    if found is None:
        return f"there is no such policy or profile among the resources, and it is none of {', '.join(WORDS)}"
    if rule is None:
        return ""
    sides = [rule["direction"]] if rule["direction"] else ["ingress", "egress"]
    if direction != "forward" and direction not in sides:
        return f"an {direction} packet meets no {sides[0]} rule"
    if direction != "forward":
        sides = [direction]
    most = max(len(found.spec.ingress if side == "ingress" else found.spec.egress) for side in sides)
    if int(rule["index"]) >= most:
        return f"{owner} has {most} {' or '.join(sides)} rules, counted from 0"
    return ""


def decided_by(text: str, decision: Decision) -> bool:
    """Whether what ``text`` names gave the verdict.

    A policy decides by a rule of it, or, where none of its tier's matches, by being in a tier that denies.
    """
    if text in _WITHOUT_RULE:
        return decision.reason is _WITHOUT_RULE[text]
    if text == PROFILE:
        return decision.profile is not None
    if text == DEFAULT:
        return decision.stage is not None and decision.rule is None
    rule = _RULE.fullmatch(text)
    if rule is None:
        return text in {decision.policy, decision.profile} or text in _asked_in_vain(decision)
    place = decision.rule
    if place is None or (place.owner, place.index) != (rule["owner"], int(rule["index"])):
        return False
    return rule["direction"] in {None, place.direction}


def _asked_in_vain(decision: Decision) -> set[str]:
    """The policies of the tier whose end decided."""
    if decision.tier is None or decision.rule is not None:
        return set()
    names: set[str] = set()
    for step in decision.trace:
        if step.looked is Looked.TIER and step.outcome == "asked":
            names = set()
        elif step.looked is Looked.POLICY:
            names.add(step.name)
    return names


def told(decision: Decision) -> str:
    """What gave the verdict, as ``by`` could say it."""
    if decision.rule is not None:
        return f"{decision.rule.owner}/{decision.rule.index}"
    names = {reason: word for word, reason in _WITHOUT_RULE.items()}
    if decision.reason in names:
        return names[decision.reason]
    asked = sorted(_asked_in_vain(decision))
    return f"{DEFAULT} ({decision.because}, after {', '.join(asked)})" if asked else DEFAULT
