"""``hepctl completion``: the script that teaches a shell to complete hepctl's words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from pyagent.cli.main import cli

SHELLS = ("bash", "zsh", "fish")


@click.command(short_help="Print a shell's completion script.")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of a shell, to be evaluated when it starts.

    \b
    bash:  eval "$(hepctl completion bash)"      in ~/.bashrc
    zsh:   eval "$(hepctl completion zsh)"       in ~/.zshrc
    fish:  hepctl completion fish | source       in ~/.config/fish/config.fish

    Verbs, options, kinds and the names of resources in the datastore are completed.
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "hepctl", "_HEPCTL_COMPLETE").source())
