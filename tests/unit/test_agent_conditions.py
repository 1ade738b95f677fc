"""What a pass means for a host endpoint, in the words of its status."""

from __future__ import annotations

from typing import Any

import pytest

from pyagent.abi import Direction
from pyagent.agent.conditions import Surroundings, status_of
from pyagent.agent.enforce import NO_ENDPOINT, OF_A_WORKLOAD, Enforced
from pyagent.attach.outcome import Mode, Report
from pyagent.model.status import DEGRADED, PROTECTED, HostEndpointStatus, Truth


def report(interface: str, error: str = "", *overtaken: str) -> Report:
    return Report(
        interface, 2, Direction.INGRESS, None if error else Mode.TCX, overtaken_by=overtaken, error=error
    )


def enforced(*reports: Report, **fields: Any) -> Enforced:
    reports = reports or (report("eth0"),)
    covered = {"h": tuple(each.interface for each in reports)}
    return Enforced(**{"generation": 3, "interfaces": reports, "covered": covered, **fields})


def protected(status: HostEndpointStatus) -> tuple[Truth, str, str]:
    condition = status.condition(PROTECTED)
    assert condition is not None
    return condition.status, condition.reason, condition.message


def test_an_endpoint_whose_interfaces_are_all_covered_is_protected() -> None:
    status = status_of("h", enforced(), Surroundings("digest"))
    assert protected(status) == (Truth.TRUE, "Covered", "")
    assert (status.observed, status.generation, status.interfaces) == ("digest", 3, ("eth0",))
    assert status.condition(DEGRADED).status is Truth.FALSE  # type: ignore[union-attr]
    assert HostEndpointStatus.read(status.wire()) == status


@pytest.mark.parametrize(
    ("pass_", "around", "reason", "words"),
    [
        (Enforced(problem="disk on fire"), Surroundings(), "NoImage", "disk on fire"),
        (enforced(problem="too many", cause="CapacityExceeded"), Surroundings(), "CapacityExceeded", "many"),
        (enforced(restored=True), Surroundings(), "Restored", "datastore"),
        (
            enforced(report("eth0"), report("eth1", "busy")),
            Surroundings(),
            "InterfaceUnprotected",
            "eth1: busy",
        ),
        (enforced(), Surroundings(rescue=True), "Rescue", "rescue"),
        (enforced(covered={"h": ()}), Surroundings(), "NoInterface", "no interface"),
        (enforced(covered={}), Surroundings(), "NoInterface", "no interface"),
    ],
)
def test_an_endpoint_that_is_not_protected_says_why(
    pass_: Enforced, around: Surroundings, reason: str, words: str
) -> None:
    truth, why, message = protected(status_of("h", pass_, around))
    assert (truth, why) == (Truth.FALSE, reason)
    assert words in message


def test_an_interface_of_another_endpoint_takes_nothing_from_this_one() -> None:
    both = enforced(report("eth0"), report("eth1", "busy"), covered={"h": ("eth0",), "other": ("eth1",)})
    assert protected(status_of("h", both, Surroundings()))[1] == "Covered"
    other = status_of("other", both, Surroundings())
    assert other.unprotected == {"eth1": "busy"}


@pytest.mark.parametrize(
    ("pass_", "around", "reason"),
    [
        (enforced(report("eth0", "", "theirs")), Surroundings(), "Overtaken"),
        (enforced(), Surroundings(broken=("GlobalNetworkPolicy/p",)), "LastGoodKept"),
        (enforced(), Surroundings(pressure={"flows4": 93}), "MapPressure"),
    ],
)
def test_what_is_not_as_it_should_be_is_told_beside_the_protection(
    pass_: Enforced, around: Surroundings, reason: str
) -> None:
    status = status_of("h", pass_, around)
    condition = status.condition(DEGRADED)
    assert condition is not None
    assert (condition.status, condition.reason) == (Truth.TRUE, reason)
    assert protected(status)[1] == "Covered"


def test_pressure_is_told_in_tens_from_half_a_map() -> None:
    around = Surroundings(pressure={"flows4": 61, "flows6": 50, "fragments": 3})
    assert status_of("h", enforced(), around).pressure == {"flows4": 70}


def test_a_host_of_a_thousand_pods_has_a_small_status() -> None:
    many = [report(f"cali{number}", "no such device " * 3) for number in range(1000)]
    excluded = {f"veth{number}": "excluded" for number in range(1000)}
    status = status_of("h", enforced(*many, excluded=excluded), Surroundings())
    assert len(repr(status.wire())) < 6000
    assert "and 995 more" in protected(status)[2]


def test_an_interface_that_no_endpoint_applies_to_is_listed_with_the_reason_and_a_pods_is_not() -> None:
    unfiltered = {"eth1": NO_ENDPOINT, "cali1": OF_A_WORKLOAD}
    status = status_of("h", enforced(unfiltered=unfiltered), Surroundings())
    assert status.excluded == {"eth1": NO_ENDPOINT}
