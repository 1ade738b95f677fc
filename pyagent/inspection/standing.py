"""How things stand on this node: what the agent last said, and what the kernel itself says."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any, Final

from pyagent.bpf.pins import Pins
from pyagent.dataplane.control import Control
from pyagent.errors import AutohepError
from pyagent.inspection.pinned import Pinned

STATUS: Final = "status.json"


def standing(pins: Pins, state_directory: Path) -> dict[str, Any]:
    """What the agent of these pins last reported, whether it runs, and the kernel's generation and rescue.

    ``problems``: everything that keeps the node from being protected by the newest policy; empty: it is.
    Raises AutohepError if no firewall is loaded, or the agent has never reported.
    """
    generation, rescue = _kernel(pins)
    reported = _reported(state_directory)
    found = {
        **reported,
        "running": agent_runs(pins),
        "generationInKernel": generation,
        "rescueSeconds": rescue,
        "earlierInForce": not generation and bool(pins.other_versions()),
    }
    return {**found, "problems": _problems(found)}


def agent_runs(pins: Pins) -> bool:
    """Whether an agent holds the claim on the pins; the kernel ends it however the agent dies."""
    directory = os.open(pins.base / pins.instance, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(directory)
    return False


def _kernel(pins: Pins) -> tuple[int, float]:
    with Control(Pinned(pins).open("control")) as control:
        return control.generation, round(control.rescue_left(), 1)


def _reported(directory: Path) -> dict[str, Any]:
    place = directory / STATUS
    try:
        found = json.loads(place.read_bytes())
    except FileNotFoundError:
        raise AutohepError(f"the agent has not reported yet: there is no {place}") from None
    except ValueError as error:
        raise AutohepError(f"{place} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise AutohepError(f"{place} is damaged: it is no object")
    return found


def _problems(found: dict[str, Any]) -> list[str]:
    """In the order in which somebody would mend them."""
    problems = []
    if not found["running"]:
        problems.append("no agent runs: what is in force stays in force, and nothing new takes effect")
    if found["rescueSeconds"]:
        problems.append(f"rescue is open for another {found['rescueSeconds']:.0f} s: every packet passes")
    if found["earlierInForce"]:
        problems.append("no policy is in force yet in the maps of this start; those from before it still are")
    elif not found["generationInKernel"]:
        problems.append("no policy is in force yet")
    if found.get("problem"):
        problems.append(str(found["problem"]))
    if found.get("restored"):
        problems.append("the policy in force is that of an earlier run: the datastore has not answered yet")
    elif not found.get("datastoreConnected", True):
        problems.append("the datastore is away: the last policy known is in force")
    problems += [f"interface {name} is not filtered" for name in found.get("uncovered", ())]
    problems += [f"{place}: its last valid form is in force: {why}" for place, why in _broken(found)]
    return problems


def _broken(found: dict[str, Any]) -> list[tuple[str, str]]:
    return sorted(found.get("broken", {}).items())
