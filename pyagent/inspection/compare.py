"""What changed from one image to another: endpoints, policies, rules, and who is in which address set."""

from __future__ import annotations

from typing import Any

from pyagent.inspection.held import Held


def compare(before: Held, after: Held) -> dict[str, Any]:
    """The differences, as plain builtins. Raises AutohepError if one of the two has no names."""
    old, new = before.known(), after.known()
    old_rules, new_rules = _rules(old), _rules(new)
    return {
        "generations": [before.generation, after.generation],
        "bytes": [before.walker.header["size"], after.walker.header["size"]],
        "classes": [before.describe()["classes"], after.describe()["classes"]],
        "identical": before.walker.header["hash"] == after.walker.header["hash"],
        "endpoints": _names(old["endpoints"], new["endpoints"]),
        "policies": _names(old["policies"], new["policies"]),
        "rules": {
            "added": [new_rules[key] for key in new_rules if key not in old_rules],
            "removed": [old_rules[key] for key in old_rules if key not in new_rules],
        },
        "sets": _sets(before, after),
    }


def _rules(metadata: dict[str, Any]) -> dict[int, str]:
    return {
        rule["key"]: f"{rule['action']} {rule['place']}"
        for policy in metadata["policies"]
        for rule in policy["rules"]
    }


def _names(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> dict[str, list[str]]:
    before, after = {each["name"] for each in old}, {each["name"] for each in new}
    return {"added": sorted(after - before), "removed": sorted(before - after)}


def _sets(before: Held, after: Held) -> list[dict[str, Any]]:
    old, new = _networks(before), _networks(after)
    found = []
    for name in sorted(old.keys() | new.keys()):
        had, has = set(old.get(name, ())), set(new.get(name, ()))
        if had != has or (name in old) != (name in new):
            change = "added" if name not in old else "removed" if name not in new else "changed"
            networks = {"added": sorted(has - had), "removed": sorted(had - has)}
            found.append({"name": name, "change": change, **networks})
    return found


def _networks(held: Held) -> dict[str, list[str]]:
    sets = held.known()["sets"]
    return {each["name"]: held.members.networks(number) for number, each in enumerate(sets)}
