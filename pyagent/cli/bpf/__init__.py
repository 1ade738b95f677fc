"""``hepctl bpf``: what this node's kernel holds, in words."""

from __future__ import annotations

import click

from pyagent.cli.bpf.addresses import ipsets, routes
from pyagent.cli.bpf.conntrack import conntrack
from pyagent.cli.bpf.image import image, lookup
from pyagent.cli.bpf.policy import policy
from pyagent.cli.bpf.profile import profile
from pyagent.cli.bpf.tables import counters, failsafe, ifstate, maps


@click.group(short_help="Look into the maps of this node's firewall.")
def bpf() -> None:
    """Look into the maps of this node's firewall.

    Needs neither the datastore nor a running agent; images and policies can also be read from a directory
    where an agent has saved them. Needs root for what is in the kernel.
    """


for command in (policy, image, lookup, conntrack, counters, failsafe, ifstate, ipsets, routes, maps, profile):
    bpf.add_command(command)
