"""The program finds the same verdict in a table with pages, and counts it under the same rule."""

from __future__ import annotations

import pytest

from pyagent.abi import PAGE_CELLS, Direction, Reason, TableKind
from pyagent.compiler import Walker
from tests.support.kernel import Installed, Kernel
from tests.support.small_world import HOST, PEER, WORLD, endpoint, outgoing, packet, policy, rule

ALLOW, DENY = Reason.POLICY_ALLOW, Reason.POLICY_DENY
#: Every second one is allowed, at the rest and beside them nothing; a row of the table has four pages.
PORTS = range(20000, 20000 + 2 * (3 * PAGE_CELLS + 9), 2)


def enforce(kernel: Kernel, dense: int) -> Installed:
    """Ingress, and egress with the actions exchanged; a multiple of ten is for the peer alone."""

    def rules(allowed: int, peer: dict[str, object]) -> list[dict[str, object]]:
        return [
            rule(
                "Allow" if port % 4 == allowed else "Deny",
                protocol="TCP",
                source=peer if port % 10 == 0 else {},
                destination={"ports": [port]},
            )
            for port in PORTS
        ]

    ingress = rules(0, {"nets": [PEER]})
    return kernel.enforce(endpoint(), policy("wide", *ingress, egress=rules(2, {})), dense=dense)


def expected(port: int, source: str) -> Reason:
    allowed = port in PORTS and port % 4 == 0 and (port % 10 != 0 or source == PEER)
    return ALLOW if allowed else DENY


@pytest.mark.parametrize("dense", [0, 1 << 30])
def test_every_port_of_every_page_gets_its_verdict(kernel: Kernel, dense: int) -> None:
    installed = enforce(kernel, dense)
    table = Walker(installed.image).slot_tables(0)[TableKind.LOCAL_INGRESS]
    assert table["columns"] > 3 * PAGE_CELLS
    assert bool(table["pages_at"]) is (dense == 0)
    for port in range(PORTS[0] - 1, PORTS[-1] + 2):
        for source in (PEER, WORLD):
            assert kernel.judge(packet(port, source=source, destination=HOST)) is expected(port, source), port
        out = ALLOW if port in PORTS and port % 4 == 2 else DENY
        assert kernel.judge(outgoing(port), direction=Direction.EGRESS) is out, port


def test_a_rule_in_the_last_page_is_counted_as_that_rule(kernel: Kernel) -> None:
    installed = enforce(kernel, 0)
    walker, last = Walker(installed.image), PORTS[-1]
    what = packet(last, source=PEER, destination=HOST)
    walked = walker.walk(0, TableKind.LOCAL_INGRESS, what)
    assert walked is not None
    assert "wide" in installed.image.metadata["rules"][str(walked.rule)]
    before = kernel.hits(walked.verdict_id)[0]
    kernel.judge(what)
    assert kernel.hits(walked.verdict_id)[0] == before + 1
