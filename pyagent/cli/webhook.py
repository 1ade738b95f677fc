"""``hepctl webhook``: an admission webhook for a cluster."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click

from pyagent.cli.failure import Failure
from pyagent.cli.settings import Settings, pass_settings
from pyagent.telemetry.address import parse_address
from pyagent.webhook import WebhookServer

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(short_help="Say at admission what is wrong with an object.")
@click.option(
    "--address", default="0.0.0.0:9443", show_default=True, metavar="ADDRESS:PORT", help="Where to listen."
)
@click.option("--certificate", type=_FILE, required=True, help="The server's certificate, PEM; read again.")
@click.option("--key", type=_FILE, required=True, help="Its private key, PEM; read again.")
@pass_settings
def webhook(settings: Settings, address: str, certificate: Path, key: Path) -> None:
    """Answer an API server's AdmissionReviews at https://ADDRESS:PORT/validate, until told to stop.

    Objects are refused with every problem at once; rules that do not do what they seem to give warnings.
    """
    settings.start_logging(default="info")
    place = parse_address(address)
    if place is None:
        raise Failure("a webhook needs an address")
    try:
        server = WebhookServer((place.host, place.port), certificate, key)
    except OSError as error:
        raise Failure(f"cannot serve at {place}: {error}") from error
    stop = threading.Thread(target=server.shutdown, daemon=True)
    signal.signal(signal.SIGTERM, lambda *_: stop.start())
    with server:
        server.serve_forever()
