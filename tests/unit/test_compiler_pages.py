"""Tables in pages: the same verdicts as written out, in less room, and refused where numbers end."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pyagent.abi import PAGE_CELLS, TableKind
from pyagent.calc import World, node_view
from pyagent.calc.view import NodeView
from pyagent.compiler import Compiler, Image, Walker, compile_image, pages
from pyagent.compiler.canvas import Cells
from pyagent.compiler.compile import SMALL_BYTES
from pyagent.compiler.merge import Merger
from pyagent.compiler.pages import Paged, Pager, cells_of
from pyagent.compiler.table import Budget, _gather
from pyagent.errors import CapacityError
from pyagent.inspection.held import Held
from pyagent.model.packet import Packet
from tests.support.small_world import FACTS, HOST, PEER, WORLD, endpoint, packet, policy, rule

CELLS = hnp.arrays(np.uint16, st.tuples(st.integers(1, 5), st.integers(1, 200)), elements=st.integers(0, 2))
#: So many that a row of the table has four pages, the last of them not full.
PORTS = range(1000, 1000 + 3 * (3 * PAGE_CELLS + 7), 3)


@given(CELLS, st.integers(1, 5))
def test_every_cell_is_found_again_whatever_the_cells_are(cells: Cells, piece: int) -> None:
    parts = [cells[low : low + piece] for low in range(0, len(cells), piece)]
    paged = Paged.of(parts, cells.shape[1])
    assert (cells_of(paged.pages, paged.runs, paged.columns) == cells).all()
    assert paged.shape == cells.shape
    assert len({run.tobytes() for run in paged.runs}) == len(paged.runs)


def test_what_fills_a_row_up_makes_no_run_of_its_own() -> None:
    cells = np.full((3, 2 * PAGE_CELLS + 1), 7, dtype=np.uint16)
    assert Pager(1).add(cells).tolist() == [[0, 0, 0]] * 3


def wide_view() -> NodeView:
    """Every third port of many has an action of its own, for one peer another than for the rest."""
    rules = [
        rule(
            "Allow" if port % 2 else "Deny",
            protocol="TCP",
            source={"nets": [f"{PEER}/32"]} if port % 5 == 0 else {},
            destination={"ports": [port]},
        )
        for port in PORTS
    ]
    # Two columns that differ for rules and not in verdicts, among the first: they are merged.
    early = rule("Allow", protocol="TCP", destination={"ports": [f"{PORTS[0] - 1}:{PORTS[0]}"]})
    hidden = rule("Deny", protocol="TCP", destination={"ports": [PORTS[0] - 1]})
    resources = [endpoint(), policy("wide", early, *rules, hidden)]
    return node_view(World.from_resources(resources), FACTS)


def probes() -> Iterator[Packet]:
    for port in range(PORTS[0] - 1, PORTS[-1] + 2):
        yield packet(port, source=PEER, destination=HOST)
        yield packet(port, source=WORLD, destination=HOST)


def said(image: Image) -> list[tuple[object, ...]]:
    walker = Walker(image)
    found = [walker.walk(0, TableKind.LOCAL_INGRESS, probe) for probe in probes()]
    return [(walked.action, walked.rule, walked.log) for walked in found if walked is not None]


def table_of(image: Image) -> dict[str, int]:
    return Walker(image).slot_tables(0)[TableKind.LOCAL_INGRESS]


def test_a_table_in_pages_says_what_it_says_written_out() -> None:
    view = wide_view()
    whole, paged = compile_image(view, 1), compile_image(view, 1, dense=0)
    assert table_of(whole)["pages_at"] == table_of(whole)["runs"] == 0
    assert table_of(paged)["pages_at"] > 0
    assert paged.metadata["tables"][0]["painted_columns"] > table_of(paged)["columns"] > 3 * PAGE_CELLS
    assert said(paged) == said(whole)
    assert len(said(whole)) == 2 * (PORTS[-1] - PORTS[0] + 3)
    assert {action for action, *_ in said(whole)} == {1, 2}


def test_bpf_image_tells_the_form_of_a_table_and_the_bytes_of_its_cells() -> None:
    view = wide_view()
    told = {}
    for dense in (0, 1 << 20):
        image = compile_image(view, 1, dense=dense)
        (endpoint_,) = Held("here", Walker(image), dict(image.metadata)).describe()["endpoints"]
        told[dense] = next(each for each in endpoint_["tables"] if each["table"] == "local_ingress")
    paged, whole = told.values()
    assert (paged["form"], whole["form"]) == ("pages", "dense")
    assert (paged["rows"], paged["columns"]) == (whole["rows"], whole["columns"])
    table = table_of(compile_image(view, 1, dense=0))
    numbers = table["rows"] * -(-table["columns"] // PAGE_CELLS)
    cells = table["rows"] * table["columns"]
    assert paged["bytes"] - whole["bytes"] == 2 * (table["runs"] * PAGE_CELLS + numbers - cells)


def test_a_table_is_in_pages_as_soon_as_it_exceeds_its_budget() -> None:
    view = wide_view()
    whole = table_of(compile_image(view, 1))
    size = 2 * whole["rows"] * whole["columns"]
    assert table_of(compile_image(view, 1, dense=size))["pages_at"] == 0
    assert table_of(compile_image(view, 1, dense=size - 1))["pages_at"] > 0


def test_where_the_image_would_be_too_large_else_smaller_tables_are_in_pages_too() -> None:
    rules = [
        rule(protocol="TCP", source={"nets": [f"10.1.0.{number}/32"]}, destination={"ports": [1000 + number]})
        for number in range(1, 200)
    ]
    view = node_view(World.from_resources([endpoint(), policy("own", *rules)]), FACTS)
    whole, paged = compile_image(view, 1), compile_image(view, 1, dense=SMALL_BYTES)
    between = (_used(whole) + _used(paged)) // 2
    assert _used(paged) < between < _used(whole)
    compiler = Compiler()
    for _ in range(2):
        squeezed = compiler.compile(view, 1, between)
        assert table_of(squeezed)["pages_at"] > 0
        assert said(squeezed) == said(whole)
    assert compiler.compile(view, 1).data == whole.data
    with pytest.raises(CapacityError, match=r"image bytes: needs .* own costs most"):
        compiler.compile(view, 1, _used(paged) // 2)


def _used(image: Image) -> int:
    """Bytes without the room for edits, which an image does without if it must."""
    return int(Walker(image).header["tunnels_at"])


def test_more_runs_than_numbers_leave_a_table_written_out_or_refuse_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    view = wide_view()
    paged = table_of(compile_image(view, 1, dense=0))
    monkeypatch.setattr(pages, "RUNS_MAX", paged["runs"])
    assert table_of(compile_image(view, 1, dense=0))["runs"] == paged["runs"]
    monkeypatch.setattr(pages, "RUNS_MAX", paged["runs"] - 1)
    whole = compile_image(view, 1, dense=0)
    assert table_of(whole)["pages_at"] == 0
    assert said(whole) == said(compile_image(view, 1))


def test_what_neither_pages_nor_the_image_have_room_for_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    merger = Merger(1 << 20)
    merger.add(np.arange(4 * PAGE_CELLS, dtype=np.uint16).reshape(2, -1))
    columns, kept = merger.columns()
    assert isinstance(_gather(merger, kept, Budget(limit=8 * PAGE_CELLS, dense=0)), Paged)
    monkeypatch.setattr(pages, "RUNS_MAX", 3)
    assert _gather(merger, kept, Budget(limit=8 * PAGE_CELLS, dense=0)).shape == (2, len(columns))
    with pytest.raises(CapacityError, match="runs of a table's cells: needs 4, have 3"):
        _gather(merger, kept, Budget(limit=8 * PAGE_CELLS - 1, dense=0))


def test_a_compiler_that_has_compiled_before_makes_the_same_pages() -> None:
    view, compiler = wide_view(), Compiler(dense=0)
    fresh = compile_image(view, 1, dense=0)
    assert [compiler.compile(view, 1).data for _ in range(2)] == [fresh.data, fresh.data]
