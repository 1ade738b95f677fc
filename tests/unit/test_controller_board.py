"""When a status is due: at most so often while a policy is under way, at once at its end, never twice."""

from __future__ import annotations

from msgspec.structs import replace

from pyagent.calc import policy_digest
from pyagent.controller.board import PACE_S, WRITES_PER_S, Board
from pyagent.datastore import EventType, WatchEvent
from pyagent.errors import Problem
from pyagent.model import (
    CALICO_V3,
    GlobalNetworkPolicy,
    HostEndpoint,
    Metadata,
    Profile,
    Resource,
    StagedGlobalNetworkPolicy,
)
from pyagent.model.policy import PolicySpec, ProfileSpec
from pyagent.model.status import HostEndpointStatus, PolicyStatus
from tests.support.resources import host_endpoint

NOW = "2026-01-02T03:04:05Z"


def policy(name: str, selector: str = "all()", generation: int = 1, **spec: str) -> GlobalNetworkPolicy:
    return GlobalNetworkPolicy(
        api_version=CALICO_V3,
        kind="GlobalNetworkPolicy",
        metadata=Metadata(name=name, uid=f"uid-{name}", generation=generation),
        spec=PolicySpec(selector=selector, **spec),
    )


def reporting(endpoint: HostEndpoint, *policies: Resource) -> HostEndpoint:
    status = HostEndpointStatus(observed=policy_digest(policies))
    return replace(endpoint, status=status.wire())


def told(*resources: Resource) -> Board:
    board = Board()
    for each in resources:
        tell(board, each)
    board.begin()
    return board


def tell(board: Board, resource: Resource, type_: EventType = EventType.MODIFIED) -> None:
    board.take(WatchEvent(type_, resource.kind, resource.name, "", resource))


def write(board: Board, now: float) -> dict[str, str]:
    """Write what is due; policy -> summary."""
    due, _ = board.due(now)
    written = {}
    for each in due:
        status = each.timed(NOW)
        board.wrote(each, status, now)
        assert isinstance(status, PolicyStatus)
        written[each.key[1]] = status.summary
    return written


def test_a_status_is_written_once_and_then_no_more() -> None:
    board = told(host_endpoint("n1", "n1"), policy("p"))
    assert write(board, 0) == {"p": "0/1"}
    assert write(board, 1000) == {}


def test_while_it_changes_a_status_is_written_at_a_pace_and_its_end_at_once() -> None:
    wanted, endpoints = policy("p"), [host_endpoint(f"n{number}", f"n{number}") for number in range(4)]
    board = told(*endpoints, wanted)
    assert write(board, 0) == {"p": "0/4"}
    tell(board, reporting(endpoints[0], wanted))
    assert board.due(1) == ([], PACE_S)
    tell(board, reporting(endpoints[1], wanted))
    assert write(board, PACE_S) == {"p": "2/4"}
    for endpoint in endpoints:
        tell(board, reporting(endpoint, wanted))
    assert write(board, PACE_S + 0.1) == {"p": "4/4"}


def test_many_policies_under_way_are_written_more_slowly() -> None:
    many = [policy(f"p{number}") for number in range(200)]
    endpoints = [host_endpoint("n1", "n1"), host_endpoint("n2", "n2")]
    board = told(*endpoints, *many)
    write(board, 0)
    tell(board, reporting(endpoints[0], *many))
    assert board.due(PACE_S) == ([], 200 / WRITES_PER_S)
    assert len(write(board, 200 / WRITES_PER_S)) == 200
    tell(board, policy("p7", generation=2))
    assert write(board, 100) == {"p7": "0/2"}, "one alone is not held up by the others"


def test_a_node_with_two_endpoints_counts_once_by_the_younger_report() -> None:
    wanted = policy("p")
    one, two = host_endpoint("n1-a", "n1", interface_name="eth0"), host_endpoint("n1-b", "n1")
    board = told(one, two, wanted)
    tell(board, reporting(two, wanted))
    assert write(board, 0) == {"p": "1/1"}
    (status,) = board.policies().values()
    assert status.selected_endpoints == 2


def test_labels_of_profiles_select_as_they_do_on_the_node() -> None:
    profile = Profile(
        api_version=CALICO_V3,
        kind="Profile",
        metadata=Metadata(name="webs", uid="uid-webs", generation=1),
        spec=ProfileSpec(labels_to_apply={"role": "web"}),
    )
    endpoint = host_endpoint("n1", "n1", profiles=("webs",))
    board = told(endpoint, host_endpoint("n2", "n2"), profile, policy("p", "role == 'web'"))
    assert write(board, 0) == {"p": "0/1"}
    tell(board, replace(endpoint, metadata=replace(endpoint.metadata, labels={"role": "db"})))
    assert write(board, 100) == {"p": "0/0"}


def test_a_label_that_changes_counts_at_once_also_where_it_hides_a_profiles() -> None:
    profile = Profile(
        api_version=CALICO_V3,
        kind="Profile",
        metadata=Metadata(name="given"),
        spec=ProfileSpec(labels_to_apply={"role": "web"}),
    )
    plain = host_endpoint("n1", "n1", profiles=["given"])
    other = replace(plain, metadata=replace(plain.metadata, labels={"role": "db", "color": "red"}))
    policies = [policy("web", "role == 'web'"), policy("red", "color == 'red'"), policy("all")]
    beside = host_endpoint("n2", "n2", labels={"role": "web"})
    board = told(profile, plain, beside, *policies)
    write(board, 0)
    for turn, endpoint in enumerate((other, plain, other), start=1):
        tell(board, endpoint)
        fresh = told(profile, endpoint, beside, *policies)
        write(board, 1000 * turn)
        write(fresh, 0)
        seen, wanted = board.policies(), fresh.policies()
        assert {key: each.selected for key, each in seen.items()} == {
            key: each.selected for key, each in wanted.items()
        }
    assert {key[1]: each.selected for key, each in board.policies().items()} == {"web": 1, "red": 1, "all": 2}


def test_a_policy_for_namespaces_or_accounts_selects_no_host() -> None:
    board = told(host_endpoint("n1", "n1"), policy("p", namespace_selector="all()"))
    assert write(board, 0) == {"p": "0/0"}
    (status,) = board.policies().values()
    realized = status.condition("Realized")
    assert realized is not None
    assert realized.reason == "SelectsNothing"


def test_a_staged_policy_is_rehearsed_and_says_if_it_is_not_evaluated() -> None:
    def staged(name: str, action: str) -> StagedGlobalNetworkPolicy:
        metadata, spec = Metadata(name=name, uid=name, generation=1), PolicySpec(selector="all()")
        return StagedGlobalNetworkPolicy(
            api_version=CALICO_V3,
            kind="StagedGlobalNetworkPolicy",
            metadata=metadata,
            spec=replace(spec, staged_action=action),
        )

    both = staged("set", "Set"), staged("delete", "Delete")
    endpoint = host_endpoint("n1", "n1")
    board = told(reporting(endpoint, *both), *both)
    write(board, 0)
    reasons = {
        key[1]: condition.reason
        for key, status in board.policies().items()
        if (condition := status.condition("Realized"))
    }
    assert reasons == {"set": "Rehearsed", "delete": "NotEvaluated"}


def test_problems_that_stay_the_same_are_no_news() -> None:
    board = told(host_endpoint("n1", "n1"), policy("p"))
    error = WatchEvent(
        EventType.ERROR, "GlobalNetworkPolicy", "p", problems=(Problem("spec.selector", "does not parse"),)
    )
    assert board.take(error)
    assert list(board.unread) == [("GlobalNetworkPolicy", "p")]
    board.note_stored(("GlobalNetworkPolicy", "p"), {"metadata": {"generation": 2}})
    assert not board.take(error)
    assert not board.unread
    (due,), _ = board.due(0)
    assert due.last_valid == 1
    assert due.wire(NOW)["conditions"][0]["observedGeneration"] == 2


def test_a_deleted_policy_and_a_deleted_node_are_forgotten() -> None:
    gone, wanted, endpoint = policy("gone"), policy("p"), host_endpoint("n1", "n1")
    board = told(endpoint, host_endpoint("n2", "n2"), gone, wanted)
    write(board, 0)
    tell(board, gone, EventType.DELETED)
    tell(board, endpoint, EventType.DELETED)
    assert write(board, 100) == {"p": "0/1"}
    assert board.protected() == (0, 1)
