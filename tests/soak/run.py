"""One soak: a node under traffic and churn, looked at every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from tests.lab.lab import HEPCTL
from tests.resilience.load import Counted, Load
from tests.resilience.site import AGENT, NODE, Site, policy, resource, site
from tests.soak.churn import Churn, allow_brief
from tests.soak.samples import Sample, growth, take

CONTROLLER: Final = "controller"
_PAUSE: Final = 0.01  # seconds between datagrams: enough to see a gap, for hours
_CONNECTIONS: Final = 20


@dataclass(frozen=True)
class Soaked:
    """What came of a soak."""

    samples: tuple[Sample, ...]
    churned: dict[str, int]
    counted: Counted
    failures: tuple[str, ...]

    @property
    def problems(self) -> list[str]:
        """What grew or failed, and packets and connections that fared wrongly; empty: all is well."""
        wrong = [] if self.counted.clean else [f"traffic: {self.counted}"]
        return [*growth(self.samples), *self.failures, *wrong]

    def document(self) -> dict[str, Any]:
        """All of it, for a file."""
        return {
            "minutes": round(self.samples[-1].seconds / 60, 1),
            "churned": self.churned,
            "traffic": asdict(self.counted),
            "problems": self.problems,
            "samples": [asdict(sample) for sample in self.samples],
        }


def soak(seconds: float, every: float, say: Callable[[str], None], churn_rate: float = 1.0) -> Soaked:
    """Churn for so long, looking ``every`` so many seconds; ``say`` gets a line a minute."""
    everywhere = resource("HostEndpoint", "everywhere", {"node": NODE, "interfaceName": "*"})
    automatic = {"controllers": {"node": {"hostEndpoint": {"autoCreate": "Enabled"}}}}
    configuration = resource("KubeControllersConfiguration", "default", automatic)
    with site(everywhere, policy(0, *allow_brief()), configuration, connections=_CONNECTIONS) as made:
        command = [str(HEPCTL), "controller", "--datastore", str(made.datastore_directory)]
        made.processes.start(CONTROLLER, command)
        _rest(made)
        samples = [_look(made, 0.0)]
        with (
            Load(made.peer, made.connections, _PAUSE) as load,
            Churn(made.datastore, made.peer, churn_rate) as churn,
        ):
            begun = told = time.monotonic()
            while (now := time.monotonic()) - begun < seconds:
                time.sleep(min(every, max(0.0, begun + seconds - now)))
                samples.append(_look(made, time.monotonic() - begun))
                if time.monotonic() - told >= 60:
                    told = time.monotonic()
                    say(f"{samples[-1]} {dict(churn.done)}")
        _rest(made)
        samples.append(_look(made, time.monotonic() - begun))
        return Soaked(tuple(samples), dict(churn.done), load.counted(), tuple(churn.failed))


def _rest(made: Site) -> None:
    """Nothing changes any more: the agent has what is stored, the controller has nothing left to do."""
    time.sleep(2)
    made.settle()


def _look(made: Site, seconds: float) -> Sample:
    pids = made.processes.pid(AGENT), made.processes.pid(CONTROLLER)
    if None in pids:
        ended = AGENT if pids[0] is None else CONTROLLER
        raise RuntimeError(f"the {ended} ended\n{made.processes.log(ended)}")
    return take(seconds, pids[0], pids[1], made.pins)  # type: ignore[arg-type]
