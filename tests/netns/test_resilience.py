"""The short form of ``make test-resilience``: the faults that take little time, and the control."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.resilience import faults, life, many
from tests.resilience.faults import Fault
from tests.resilience.site import Site, site
from tests.resilience.table import suffer

SHORT = [
    Fault("agent killed", faults.kill),
    Fault("flow tables emptied", faults.empty_flow_tables),
    Fault("second agent", faults.start_second),
    Fault("disk full", faults.fill_disk, faults.free_disk),
    Fault("bpffs unmounted", life.unmount),
    Fault("cold boot", life.boot, before=life.shut_down),
]


@pytest.fixture(scope="module")
def node() -> Iterator[Site]:
    with site() as made:
        yield made


@pytest.mark.parametrize("fault", SHORT, ids=lambda fault: fault.name.replace(" ", "-"))
def test_a_fault_passes_drops_and_loses_nothing(node: Site, fault: Fault) -> None:
    (row,) = suffer(node, [fault], print)
    assert row.counted.clean, str(row)


def test_a_flood_that_fills_the_flow_table_loses_no_connection(node: Site) -> None:
    (row,) = suffer(node, [Fault("SYN flood", many.fill_flow_table)], print, active=100)
    assert row.counted.clean, str(row)


def test_harm_would_be_seen(node: Site) -> None:
    (row,) = suffer(node, [faults.CONTROL], print)
    assert row.counted.wrongly_passed > 0
    assert row.counted.wrongly_dropped > 0
    assert row.counted.connections_lost == 1
