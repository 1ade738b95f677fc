"""Where a setting comes from: the command line, ``HEPCTL_*``, the configuration file, the default."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyagent.errors import UsageError

if TYPE_CHECKING:
    from pyagent.datastore import Datastore

DEFAULT_DATASTORE = "/var/lib/autohep/datastore"
DEFAULT_CONFIG = "/etc/autohep/hepctl.yaml"
#: The keys a configuration file may have.
KEYS = frozenset({"datastore", "log-level", "log-format", "output", "namespace"})
#: The names calicoctl takes, and what they mean here.
LOG_LEVELS = {
    "panic": logging.CRITICAL,
    "fatal": logging.CRITICAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}

LOG_FORMATS = ("text", "json")


class Settings:
    """What the command line gave; the configuration file is read when a setting is first missing."""

    def __init__(self) -> None:
        self.given: dict[str, str] = {}
        self.config: str | None = None
        self._from_file: dict[str, str] | None = None

    def give(self, key: str, value: str | None) -> None:
        """Note a value from the command line; None means not given."""
        if value is not None:
            self.given[key] = value

    def value(self, key: str, default: str) -> str:
        """The value in force for ``key``."""
        if key in self.given:
            return self.given[key]
        if variable := os.environ.get(f"HEPCTL_{key.upper().replace('-', '_')}"):
            return variable
        if self._from_file is None:
            self._from_file = _read(self.config or os.environ.get("HEPCTL_CONFIG"))
        return self._from_file.get(key, default)

    def open_datastore(self) -> Datastore:
        """The datastore the settings name."""
        from pyagent.datastore import open_datastore  # noqa: PLC0415 (hepctl --help must not pay for it)

        return open_datastore(self.value("datastore", DEFAULT_DATASTORE))

    def in_cluster(self) -> bool:
        """Whether the datastore is a cluster's API server."""
        return self.value("datastore", DEFAULT_DATASTORE).startswith("kubernetes:")

    def start_logging(self, default: str = "warning") -> None:
        """Log to standard error from the level, and in the format, that the settings name."""
        from pyagent.telemetry.logs import LogFormat, formatter  # noqa: PLC0415 (hepctl --help must not pay for it)

        level = self.value("log-level", default)
        if level not in LOG_LEVELS:
            raise UsageError(f"log level '{level}' is not known (known: {', '.join(LOG_LEVELS)})")
        # In a pod somebody collects what is logged; elsewhere somebody reads it.
        kind = self.value("log-format", "json" if "KUBERNETES_SERVICE_HOST" in os.environ else "text")
        if kind not in LOG_FORMATS:
            raise UsageError(f"log format '{kind}' is not known (known: {', '.join(LOG_FORMATS)})")
        handler = logging.StreamHandler()
        handler.setFormatter(formatter(LogFormat(kind)))
        logging.basicConfig(level=LOG_LEVELS[level], handlers=[handler], force=True)


def _read(path: str | None) -> dict[str, str]:
    """The configuration file's keys; a missing file is an error only when it was asked for by name."""
    file = Path(path or DEFAULT_CONFIG)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        if not path:
            return {}
        raise UsageError(f"{file}: no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot read the configuration file: {error}") from error
    from pyagent.cli.manifests import parse_yaml  # noqa: PLC0415 (only where there is a configuration file)

    content = parse_yaml(text, str(file)) or {}
    if not isinstance(content, dict):
        raise UsageError(f"{file}: expected a mapping of settings, got {type(content).__name__}")
    for key, value in content.items():
        if key not in KEYS:
            raise UsageError(f"{file}: unknown setting '{key}' (known: {', '.join(sorted(KEYS))})")
        if not isinstance(value, str):
            raise UsageError(f"{file}: setting '{key}' = '{value}' must be a string")
    return content


def _keep(key: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    def callback(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        ctx.ensure_object(Settings).give(key, value)

    return callback


def _keep_config(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(Settings).config = value


def where_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--datastore`` and ``--config``, taken before the verb and after it alike."""
    return click.option(
        "--datastore",
        metavar="URL",
        expose_value=False,
        is_eager=True,
        callback=_keep("datastore"),
        help="The datastore: a directory, or a URL (dir:///path, kubernetes:).  [env: HEPCTL_DATASTORE]",
    )(
        click.option(
            "-c",
            "--config",
            metavar="FILE",
            expose_value=False,
            is_eager=True,
            callback=_keep_config,
            help="The configuration file.  [env: HEPCTL_CONFIG]",
        )(command)
    )


pass_settings = click.make_pass_decorator(Settings, ensure=True)
