"""Tables in pages beside tables written out: ``python -m benchmarks.pages`` (root).

For rule sets from realistic to the worst: size of the table's cells in both forms, time and memory to
compile, and nanoseconds of the verdict alone and varied. And what is refused, and after how long.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.rule_mix import ANY, RuleMix
from benchmarks.verdict import IMAGE_BYTES, Bench, frame, loaded
from pyagent.abi import PAGE_CELLS, TableKind
from pyagent.calc.view import (
    AddressSet,
    EndpointView,
    L4Match,
    Match,
    NodeView,
    PolicyView,
    RuleAction,
    RuleRef,
    RuleView,
    Side,
)
from pyagent.compiler import Walker, compile_image
from pyagent.errors import CapacityError

NODES = 10_000
KIND = TableKind.LOCAL_INGRESS
DENSE, PAGES = 1 << 40, 0


def address(node: int) -> int:
    """The address of a node, as verdict.c draws them."""
    return 0x0A000000 + node // 200 * 256 + node % 200 + 10


def view_of(rules: list[tuple[int, int, int, int, RuleAction]]) -> NodeView:
    """A node whose one table has a rule for each (network, length, first port, last port, action)."""
    views = []
    for number, (net, length, low, high, action) in enumerate(rules):
        peers = Side((AddressSet("peers", ((net >> (32 - length) << (32 - length), length),)),))
        l4 = L4Match(protocols=frozenset({6}), ports=((low, high),))
        ref = RuleRef("GlobalNetworkPolicy", "large", "ingress", number, number + 1)
        views.append(RuleView(ref, action, (Match(peers, ANY, l4),)))
    empty = RuleMix(1).view(1)
    (endpoint,) = empty.endpoints
    table = endpoint.tables[KIND]
    tier = replace(table.tiers[0], policies=(PolicyView("large", tuple(views)),))
    tables = {KIND: replace(table, tiers=(tier,))}
    return replace(empty, endpoints=(EndpointView(endpoint.name, 0, tables),))


def pairs(addresses: int, ports: int) -> NodeView:
    """One rule for each of so many addresses; each names one of so many ports."""
    numbers = random.Random(1).sample(range(1, 65535), ports)
    return view_of(
        [
            (address(node), 32, port, port, RuleAction.ALLOW)
            for node in range(addresses)
            for port in (numbers[node % ports],)
        ]
    )


def overlapping(rules: int) -> NodeView:
    """Networks of all lengths and ranges of up to 5,000 ports, at random."""
    draw = random.Random(1)
    made = []
    for _ in range(rules):
        low = draw.randrange(1, 60000)
        net, length = 0x0A000000 + draw.randrange(1 << 22), draw.choice((16, 20, 24, 28, 32))
        action = draw.choice((RuleAction.ALLOW, RuleAction.DENY))
        made.append((net, length, low, low + draw.randrange(100, 5000), action))
    return view_of(made)


SHAPES: dict[str, Callable[[], NodeView]] = {
    "10,000 mixed rules, 10,000 nodes": lambda: RuleMix(NODES).view(10_000),
    "3,000 overlapping networks and ranges": lambda: overlapping(3_000),
    "10,000 overlapping networks and ranges": lambda: overlapping(10_000),
    "10,000 addresses x 3,000 ports": lambda: pairs(10_000, 3_000),
    "10,000 addresses x 4,000 ports": lambda: pairs(10_000, 4_000),
    "10,000 addresses x 10,000 ports": lambda: pairs(10_000, 10_000),
    "30,000 addresses x 30,000 ports": lambda: pairs(30_000, 30_000),
    "40,000 addresses": lambda: pairs(40_000, 100),
}


def compiled(name: str) -> dict[str, Any]:
    """What a shape takes in pages; in a process of its own, for the memory."""
    view = SHAPES[name]()
    before, started = _peak(), time.perf_counter()
    try:
        image = compile_image(view, 1, IMAGE_BYTES, PAGES)
    except CapacityError as error:
        return {"refused": str(error), "seconds": time.perf_counter() - started, "mb": _peak() - before}
    found: dict[str, Any] = {"seconds": time.perf_counter() - started, "mb": _peak() - before}
    table = Walker(image).slot_tables(0)[KIND]
    rows, columns = table["rows"], table["columns"]
    pages = 2 * (table["runs"] * PAGE_CELLS + rows * -(-columns // PAGE_CELLS))
    return found | {
        "rows": rows, "columns": columns, "dense_bytes": 2 * rows * columns, "pages_bytes": pages,
        "image_bytes": len(image.data), "rules": image.metadata["tables"][0]["rules"],
    }  # fmt: skip


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def measure(bench: Bench, name: str, rounds: int, repeat: int) -> dict[str, Any]:
    """Nanoseconds of both forms of a shape; without the form that the image has no room for."""
    times: dict[str, list[int]] = {}
    view = SHAPES[name]()
    for form, dense in (("dense", DENSE), ("pages", PAGES)):
        image = bench.enforce(view, dense)
        if dense and Walker(image).slot_tables(0)[KIND]["pages_at"]:
            continue
        for program, title in (("tc_verdict", "hot"), ("tc_verdict_varied", "varied")):
            times[f"{form} {title}"] = [bench.nanoseconds(program, frame(9), repeat) for _ in range(rounds)]
    return {title: {"min": min(each), "median": statistics.median(each)} for title, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--repeat", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    for name in SHAPES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found[name] = line = pool.submit(compiled, name).result()
        taken = f"{line['seconds']:.2f} s, {line['mb']} MB more"
        if "refused" in line:
            print(f"{name}: refused after {taken}: {line['refused']}", flush=True)
            continue
        print(
            f"{name}: {line['rows']} x {line['columns']} cells, "
            f"written out {line['dense_bytes'] / 1e6:.1f} MB, in pages {line['pages_bytes'] / 1e6:.1f} MB, "
            f"image {line['image_bytes'] / 1e6:.1f} MB, {taken}",
            flush=True,
        )
    with loaded() as bench:
        for name, line in found.items():
            if "refused" not in line:
                line["nanoseconds"] = measure(bench, name, arguments.rounds, arguments.repeat)
                told = ", ".join(
                    f"{title} {each['min']} ({each['median']:.0f})"
                    for title, each in line["nanoseconds"].items()
                )
                print(f"{name}: ns, least and median: {told}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
