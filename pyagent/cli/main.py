"""The top of the command line: global options, verbs imported when called, and errors as messages."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from typing import Any

import click

from pyagent.cli.failure import Failure
from pyagent.cli.settings import LOG_FORMATS, LOG_LEVELS, Settings, where_options
from pyagent.errors import AutohepError

#: Verb: where its command is, and the line ``hepctl --help`` shows for it without importing it.
COMMANDS = {
    "get": ("pyagent.cli.get:get", "Show resources."),
    "apply": ("pyagent.cli.apply:apply", "Create resources, or update those that exist."),
    "create": ("pyagent.cli.apply:create", "Create resources."),
    "replace": ("pyagent.cli.apply:replace", "Replace existing resources."),
    "delete": ("pyagent.cli.apply:delete", "Delete resources."),
    "patch": ("pyagent.cli.patch:patch", "Change parts of a resource."),
    "label": ("pyagent.cli.label:label", "Set, change or remove labels."),
    "validate": ("pyagent.cli.validate:validate", "Check manifests without a datastore."),
    "test": ("pyagent.cli.test:test", "Test policies: which packets they let through."),
    "explain": ("pyagent.cli.explain:explain", "Say what becomes of a packet, and why."),
    "lint": ("pyagent.cli.lint:lint", "Look for rules that do not do what they seem to."),
    "controller": ("pyagent.cli.daemons:controller", "Keep automatic host endpoints up to date."),
    "webhook": ("pyagent.cli.webhook:webhook", "Say at admission what is wrong with an object."),
    "install-crds": ("pyagent.cli.crds:install_crds", "Install or upgrade the kinds in a cluster."),
    "agent": ("pyagent.cli.daemons:agent", "Enforce policy on this host."),
    "observe": ("pyagent.cli.observe:observe", "Show packets that Log rules match, and dropped packets."),
    "node": ("pyagent.cli.nodestatus:node", "Say how things stand on this node."),
    "status": ("pyagent.cli.status:status", "Say how nodes and policies stand in the cluster."),
    "doctor": ("pyagent.cli.doctor:doctor", "Find out what keeps the firewall from working here."),
    "rescue": ("pyagent.cli.rescue:rescue", "Let everything pass for a while, when policy locked you out."),
    "bpf": ("pyagent.cli.bpf:bpf", "Look into the maps of this node's firewall."),
    "top": ("pyagent.cli.top:top", "Show what the firewall does just now, again and again."),
    "report": ("pyagent.cli.report:report", "Say which rules were hit, and which never."),
    "restore-node": ("pyagent.cli.restore:restore_node", "Put the last saved policy in force, at boot."),
    "uninstall-node": ("pyagent.cli.daemons:uninstall_node", "Take the firewall off this host."),
    "completion": ("pyagent.cli.completion:completion", "Print a shell's completion script."),
    "version": ("pyagent.cli.version:version", "Print the version."),
}

#: Exit codes as a shell would report the signal.
INTERRUPTED = 130
PIPE_CLOSED = 141


class Verbs(click.Group):
    """A group that imports a verb's module when the verb is called, and turns exceptions into messages."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """The verbs, in the order the help shows them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of a verb, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list of verbs, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; whatever goes wrong ends in one message and an exit code."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except AutohepError as error:
            raise Failure(str(error), error.exit_code) from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None
        except OSError as error:
            if error.errno != errno.EPIPE:
                raise _unexpected(error) from error
            # Nobody reads any more: what is still buffered must not fail a second time at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(PIPE_CLOSED) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            raise _unexpected(error) from error
        return result


def _unexpected(error: Exception) -> Failure:
    """A defect of ours or of the machine: one line, and the traceback for those who ask."""
    if os.environ.get("HEPCTL_TRACEBACK"):
        return Failure("".join(traceback.format_exception(error)).rstrip())
    what = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":")
    return Failure(f"internal error: {what} (set HEPCTL_TRACEBACK=1 to see where)")


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-l",
    "--log-level",
    metavar="LEVEL",
    type=click.Choice(list(LOG_LEVELS), case_sensitive=False),
    help=f"What to log on standard error: {', '.join(LOG_LEVELS)}.",
)
@click.option(
    "--log-format",
    metavar="FORMAT",
    type=click.Choice(LOG_FORMATS),
    help="How to log: text, or json for one object a line; json is the default in a cluster.",
)
@click.version_option(package_name="autohep", prog_name="hepctl", message="%(prog)s %(version)s")
@where_options
@click.pass_context
def cli(ctx: click.Context, log_level: str | None, log_format: str | None) -> None:
    """Show and change the resources that protect Linux hosts and Kubernetes nodes."""
    settings = ctx.ensure_object(Settings)
    settings.give("log-level", log_level)
    settings.give("log-format", log_format)


def main() -> None:
    """The entry point of the ``hepctl`` script."""
    cli(prog_name="hepctl")
