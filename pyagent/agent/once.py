"""What a boot needs before anything else runs: the saved policy in force, without agent or datastore."""

from __future__ import annotations

from pyagent.agent.enforce import Enforced, Enforcer
from pyagent.agent.run import AgentOptions, claimed, load_program
from pyagent.agent.state import StateDirectory
from pyagent.bpf.pins import Pins, ensure_bpffs
from pyagent.dataplane import Dataplane


def restore_once(options: AgentOptions) -> Enforced | None:
    """Put in force what an agent saved, on the interfaces there are now; None: nothing was ever saved.

    What is in force already stays. The agent that starts later takes over from there. Blocks for about a
    second. Raises AutohepError if an agent runs, or if the program cannot be loaded.
    """
    with StateDirectory(options.state_directory) as state:
        state.claim()
        if state.read_boot() is None:
            return None
        pins = Pins(options.instance)
        ensure_bpffs()
        pins.create()
        with claimed(pins), Dataplane(pins, options.flows_max, load_program(pins, options)) as dataplane:
            return Enforcer(options.node, pins, dataplane, state, options.xdp_interfaces).restore()
