"""A report as Markdown and SVG: what was measured, beside what was aimed at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.plot import svg


def write(report: dict[str, Any], folder: Path) -> None:
    """Write README.md and the plots of a report into a folder."""
    (folder / "README.md").write_text("\n".join(_markdown(report)) + "\n")
    verdicts = report["verdict"]["sizes"]
    nodes = verdicts[0]["nodes"]
    by_rules = [each for each in verdicts if each["nodes"] == nodes]
    names = [case["case"] for case in by_rules[0]["cases"]]
    curves = {name: [(size["rules"], _case(size, name)["min_ns"]) for size in by_rules] for name in names}
    (folder / "verdict.svg").write_text(svg(curves, "What a packet costs in the program", "rules", "ns"))
    for kind, name in (("UDP flood", "flood"), ("TCP connect", "connect")):
        curves = {
            each: [
                (size["rules"], 1e9 / size[kind][each]["max_per_s"])
                for size in report["end_to_end"]
                if each in size[kind]
            ]
            for each in report["end_to_end"][0][kind]
        }
        (folder / f"{name}.svg").write_text(svg(curves, f"{kind}: CPU time each", "rules", "ns"))
    flows = {
        "established packet": [
            (max(each["flows"], 1), each["min_ns"]) for each in report["parallel"]["flows"]
        ]
    }
    (folder / "flows.svg").write_text(svg(flows, "What a packet costs among other flows", "flows", "ns"))


def _case(size: dict[str, Any], name: str) -> dict[str, Any]:
    return next(case for case in size["cases"] if case["case"] == name)  # type: ignore[no-any-return]


def _markdown(report: dict[str, Any]) -> Iterator[str]:
    yield "# Results of `make bench`"
    yield ""
    yield (
        f"Written by `make bench` on {report['machine']}, Linux {report['kernel']}, {report['cpus']} CPUs, "
        f"load {report['load']:.1f} at the end; {report['seconds']} s in all. "
        "Method: [docs/performance.md](../../docs/performance.md)."
    )
    yield from _verdict(report["verdict"])
    yield from _end_to_end(report["end_to_end"])
    yield from _drops(report["drops"])
    yield from _rest(report)


def _verdict(found: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield "## The program: ns a packet, least of the rounds (ratio to a program that only parses, median)"
    yield ""
    sizes = found["sizes"]
    yield from _table(
        ["packet", *(f"{each['rules']} rules, {each['nodes']} nodes" for each in sizes)],
        [
            [case["case"], *(_verdict_cell(_case(size, case["case"])) for size in sizes)]
            for case in sizes[0]["cases"]
        ],
    )
    yield ""
    yield "![ns by rules](verdict.svg)"


def _verdict_cell(case: dict[str, Any]) -> str:
    return f"{case['min_ns']} ({case['ratio_median']:.2f})"


def _end_to_end(sizes: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield ""
    yield "## End to end: ratio to no filter (median of rounds), and ns more at best"
    for kind in [key for key in sizes[0] if key not in ("rules", "rounds")]:
        yield ""
        yield f"### {kind}"
        yield ""
        yield from _table(
            ["filter", *(f"{each['rules']} rules" for each in sizes)],
            [[name, *(_cell(size[kind].get(name)) for size in sizes)] for name in sizes[0][kind]],
        )
    yield ""
    yield "![flood](flood.svg)"
    yield ""
    yield "![connect](connect.svg)"


def _cell(found: dict[str, Any] | None) -> str:
    return "-" if found is None else f"{found['ratio_median']:.3f} ({found['added_ns']:+d})"


def _drops(found: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield "## A denied flood: drops in a second of CPU time, and the ratio to nftables' input chain"
    yield ""
    yield from _table(
        ["by", "most", "median", "ratio"],
        [
            [name, f"{each['max_per_s']:,}", f"{each['median_per_s']:,}", f"{each['ratio_median']:.2f}"]
            for name, each in found.items()
        ],
    )


def _rest(report: dict[str, Any]) -> Iterator[str]:
    for heading, rows in (
        ("The compiler", report["compile"]),
        ("One node's label, one policy: ms on the processor to the flip", report["changes"]),
        ("From a policy's file to the first packet judged by it", report["latency"]),
        ("An agent at rest", report["rest"]),
        ("On every CPU at once, established packet", [report["parallel"]["cpus"]]),
        ("Among other flows, established packet", report["parallel"]["flows"]),
    ):
        yield ""
        yield f"## {heading}"
        yield ""
        yield from _table(list(rows[0]), [list(each.values()) for each in rows])
    yield ""
    yield "![flows](flows.svg)"


def _table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield "|" + "---|" * len(headings)
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"
