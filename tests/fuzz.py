"""Long runs of all three engines: ``python -m tests.fuzz --packets 2000000 --seed 1`` (root).

Random worlds; in each, packets by themselves, packets that follow one another, broken frames. Prints where
it is every few seconds and a figure at the end; ends 1 at the first difference, with all one needs to see who
is right.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from pyagent.abi import REASON_DROPPED, Direction, Reason
from tests.property.test_engines_agree import world_of
from tests.support.garbage import broken_frames
from tests.support.kernel import Kernel, Network
from tests.support.kernel_agreement import Trio, conversation, describe, report, sent_cases
from tests.support.parser import judge_frame

_PER_WORLD = 900
_PROGRESS_S = 5.0


class Difference(Exception):  # noqa: N818  (a finding, no failure of the tool)
    """The engines disagree; the message says all about it."""


@dataclass
class Progress:
    """What was done so far."""

    wanted: int
    started: float = field(default_factory=time.monotonic)
    packets: int = 0
    worlds: int = 0
    reasons: Counter[Reason] = field(default_factory=Counter)
    _told: float = 0.0

    def saw(self, reason: Reason) -> None:
        self.packets += 1
        self.reasons[reason] += 1

    def line(self) -> str:
        seconds = time.monotonic() - self.started
        rate = self.packets / seconds if seconds else 0
        return f"{self.packets:,} packets in {self.worlds:,} worlds, {seconds:.0f} s, {rate:.0f} a second"

    def tell(self) -> None:
        if time.monotonic() - self._told >= _PROGRESS_S:
            self._told = time.monotonic()
            print(f"{self.line()} ({100 * self.packets / self.wanted:.1f} %)", flush=True)


def fuzz_world(kernel: Kernel, seed: int, count: int, progress: Progress) -> None:
    """``count`` packets in the world of ``seed``; raises Difference."""
    world = world_of(seed)
    trio = Trio(kernel, world)
    third = count // 3
    for sent in sent_cases(world, seed, third):
        answers = trio.alone(sent)
        progress.saw(answers.kernel.reason)
        if answers.difference:
            raise Difference(report(kernel, world, sent))
    amiss = trio.left_over()
    for sent in conversation(world, seed, third):
        answers = trio.in_turn(sent)
        progress.saw(answers.kernel.reason)
        if answers.difference:
            raise Difference(describe(world, sent, answers))
    amiss += trio.miscounted()
    fuzz_broken(kernel, trio, seed, count - 2 * third, progress)
    if amiss:
        raise Difference(f"world {seed}: {'; '.join(amiss)}")
    progress.worlds += 1


def fuzz_broken(kernel: Kernel, trio: Trio, seed: int, count: int, progress: Progress) -> None:
    """``count`` broken frames; raises Difference."""
    kernel.forget()
    for data in broken_frames(trio.world, seed, count):
        observed = kernel.run(data).reason
        expected = judge_frame(trio.engines.pipeline, data, "eth0", Direction.INGRESS)
        if observed < REASON_DROPPED:
            kernel.forget()
        progress.saw(observed)
        if observed is not expected:
            what = f"parser and image: {expected.name}, kernel: {observed.name}"
            raise Difference(f"world {seed}, ingress of eth0: {what}\nframe: {data.hex()}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--packets", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1, help="of the first world; the others follow")
    asked = parser.parse_args()
    progress, seed = Progress(asked.packets), asked.seed
    network = Network()
    with Kernel("fuzz") as kernel, network.entered():
        try:
            while progress.packets < asked.packets:
                fuzz_world(kernel, seed, min(_PER_WORLD, asked.packets - progress.packets), progress)
                progress.tell()
                seed += 1
        except Difference as difference:
            print(f"{difference}\nDIFFERENCE after {progress.line()}, seeds {asked.seed} to {seed}")
            return 1
        finally:
            network.close()
    for reason, count in progress.reasons.most_common():
        print(f"{count:12,} {reason.name}")
    print(f"seeds {asked.seed} to {seed - 1}: {progress.line()}")
    print("0 differences among reference, image and kernel")
    return 0


if __name__ == "__main__":
    sys.exit(main())
