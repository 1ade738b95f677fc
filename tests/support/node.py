"""A node as its operator meets it: the real program with a policy in force, saved images, and hepctl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from pyagent.agent.counting import Counting
from pyagent.agent.state import StateDirectory
from pyagent.cli.main import cli
from pyagent.dataplane.control import Control
from pyagent.inspection.pinned import Pinned
from pyagent.model import Resource
from tests.support.kernel import Installed, Kernel
from tests.support.policy_world import FACTS
from tests.support.resources import host_endpoint


class Node:
    """Policies go in as the agent puts them; ``hepctl`` looks at this node's pins and files."""

    def __init__(self, kernel: Kernel, folder: Path) -> None:
        self.kernel, self.state = kernel, StateDirectory(folder)
        self.counting = Counting(kernel.dataplane, self.state)

    def put(self, *resources: Resource) -> Installed:
        """Put policies in force, on a host endpoint for all interfaces, and save the image."""
        installed = self.kernel.enforce(host_endpoint("h", "n1", {"role": "db"}), *resources, facts=FACTS)
        self.state.write_image(installed.image)
        self.counting.replaced(installed.image)
        return installed

    def hepctl(self, *words: str) -> Result:
        """Run one command line; pins and directory come from the environment."""
        pins = self.kernel.pins
        where = {
            "HEPCTL_INSTANCE": pins.instance,
            "HEPCTL_PINS": str(pins.base),
            "HEPCTL_STATE_DIR": str(self.state.path),
        }
        return CliRunner().invoke(cli, words, env=where, prog_name="hepctl")

    def shown(self, *words: str) -> str:
        """What a command that succeeds prints."""
        result = self.hepctl(*words)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *words: str) -> Any:
        """The document that a command prints."""
        return json.loads(self.shown(*words, "-o", "json"))

    def control(self) -> Control:
        """The control cell; the caller closes it."""
        return Control(Pinned(self.kernel.pins).open("control"))
