"""Tells the walkthrough with real packets: ``python -m tests.lab.story`` (``make demo``).

With ``--datastore kubernetes`` nodes and policies are in a cluster's API server, enforcement is as ever.

Every step prints its command, the output, what was expected and what was observed; after each step that
changes what gets through, all checks of that stage are made. Ends in a table; exit status 1 if anything
differs.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tabulate import tabulate

from tests.lab.convergence import settle
from tests.lab.expectations import Stage
from tests.lab.lab import Lab, LabError
from tests.lab.matrix import LastingConnections, Result, make_checks
from tests.lab.steps import STEPS, Step

LINES_SHOWN = 60
WEB_SERVER = "web-server"


class Story:
    """One telling in one lab."""

    def __init__(self, lab: Lab, say: Callable[[str], None] = print) -> None:
        self.lab = lab
        self.say = say
        self.rows: list[Result] = []
        self.differences: list[Result] = []

    def tell(self) -> list[Result]:
        """All of it; what came out differently from what was expected, best nothing."""
        lasting = LastingConnections(self.lab)
        try:
            for number, step in enumerate(STEPS, 1):
                self._step(number, step)
                if step.stage is not None:
                    settle(self.lab)
                    self._checks(step.stage, lasting)
            self._note("no packet of a connection lost", lasting.check_nothing_lost())
        finally:
            lasting.close()
        return self.differences

    def table(self) -> str:
        """One line for each step and each stage's checks."""
        lines = [
            (row.what, row.expected, row.observed, "DIFFERS" if row.difference else "ok") for row in self.rows
        ]
        head = ("step", "expected", "observed", "")
        return tabulate(lines, headers=head, tablefmt="simple", maxcolwidths=[46, 34, 52, None])

    def _step(self, number: int, step: Step) -> None:
        prompt = f"{step.machine}: ~$" if step.machine else "~$"
        self.say(f"\n[{number}/{len(STEPS)}] {prompt} {step.command}")
        output, status = self._serve(step) if step.background else self._run(step)
        lines = output.splitlines()
        for line in lines[:LINES_SHOWN]:
            self.say(f"    {line}".rstrip())
        if len(lines) > LINES_SHOWN:
            self.say(f"    ... ({len(lines) - LINES_SHOWN} more lines)")
        observed, as_expected = step.judge(output, status)
        what = f"{number} {prompt} {step.command}"
        result = Result(what, step.expected, observed, "" if as_expected else "not as expected")
        self._record(result)
        if not as_expected:
            self.differences.append(result)

    def _run(self, step: Step) -> tuple[str, int]:
        if step.machine:
            done = self.lab.exec(step.machine, shlex.split(step.command))
            return done.stdout + done.stderr, done.returncode
        typed = self.lab.shell(step.command)
        return typed.stdout, typed.returncode

    def _serve(self, step: Step) -> tuple[str, int]:
        """Start what stays; its output so far, once it has said something."""
        command = f"cd {shlex.quote(str(self.lab.directory))}; {step.command}"
        self.lab.processes.start(WEB_SERVER, self.lab.network.inside(step.machine, ["bash", "-c", command]))
        self.lab.wait(lambda: bool(self.lab.processes.log(WEB_SERVER)), "the web server listens", WEB_SERVER)
        return self.lab.processes.log(WEB_SERVER), 0

    def _checks(self, stage: Stage, lasting: LastingConnections) -> None:
        name = stage.name.lower().replace("_", " ")
        self._note(f"checks of stage '{name}'", make_checks(self.lab, stage) + lasting.check())

    def _note(self, what: str, results: list[Result]) -> None:
        """Sum up many results as one row, and name those that differ."""
        differing = [result for result in results if result.difference]
        for result in differing:
            self.say(f"    {result.what}: {result.observed}: {result.difference}")
        self.differences += differing
        answered = sum(result.expected != "timeout" for result in results)
        expected = f"{answered} get through, {len(results) - answered} do not"
        observed = f"{len(results) - len(differing)} of {len(results)} as expected"
        self._record(Result(what, expected, observed, f"{len(differing)} differ" if differing else ""))

    def _record(self, row: Result) -> None:
        self.rows.append(row)
        self.say(f"    expected: {row.expected}")
        self.say(f"    observed: {row.observed}{'   <-- ' + row.difference if row.difference else ''}")


def main() -> int:
    """Tell it in a lab of its own, which is removed in any case."""
    options = parse_options()
    started = time.monotonic()
    lab = Lab("demo", in_cluster=options.datastore == "kubernetes", kubeconfig=options.kubeconfig)
    if lab.in_cluster:
        where = options.kubeconfig or "the repository's stand-in, for no KUBECONFIG is given"
        print(f"Resources are in an API server: {where}.")
    story = Story(lab)
    try:
        with lab:
            print(f"The lab is up ({time.monotonic() - started:.1f} s).")
            try:
                story.tell()
            except LabError:
                print(story.table())
                raise
            if story.differences:
                print_logs(lab)
    except LabError as error:
        print(f"\nThe story ends early: {error}", file=sys.stderr)
        return 1
    print(f"\n{story.table()}\n")
    if story.differences:
        print(f"{len(story.differences)} differences in {time.monotonic() - started:.0f} s.")
        return 1
    print(f"Everything as expected, in {time.monotonic() - started:.0f} s.")
    return 0


def parse_options() -> argparse.Namespace:
    """Where resources are kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.story")
    parser.add_argument("--datastore", choices=("directory", "kubernetes"), default="directory")
    parser.add_argument("--kubeconfig", type=Path, help="the cluster; without one, the stand-in is started")
    return parser.parse_args()


def print_logs(lab: Lab) -> None:
    """What the processes said last, for whoever looks for the cause."""
    for name in reversed(lab.processes.names()):
        print(f"\n--- the end of {name}'s log\n{lab.processes.log(name)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
