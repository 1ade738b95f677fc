"""Requests to an API server: configuration, credentials and time-outs, bytes in and bytes out.

The ``kubernetes`` package does what it does well, which is to find and to present credentials; its models,
its watch and its retries stay unused.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import urllib3
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

from pyagent.datastore.kubernetes.errors import (
    UnreachableError,
    refusal,
    retry_after_of,
)
from pyagent.datastore.kubernetes.pace import Pace
from pyagent.errors import DatastoreError, ManifestError

log = logging.getLogger(__name__)

_CHUNK = 1 << 16
_USER_AGENT = "autohep"
MERGE_PATCH = "application/merge-patch+json"
#: Connections kept for the next request; each watch has its own besides.
_POOL = 16

Query = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of the server with status 2xx."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    query: Query = ()
    body: Mapping[str, Any] | None = None
    content_type: str = ""


class Stream:
    """An answer that goes on for ever; ``close`` may be called from another thread."""

    def __init__(self, response: urllib3.HTTPResponse) -> None:
        self._response = response

    def chunks(self) -> Iterator[bytes]:
        """What arrives, as it arrives. Raises UnreachableError when the connection breaks or is silent."""
        with _as_unreachable():
            yield from self._response.stream(_CHUNK)

    def close(self) -> None:
        """Drop the connection; a reader that waits is woken up."""
        with contextlib.suppress(Exception):
            self._response.shutdown()
        with contextlib.suppress(Exception):
            self._response.close()


class Connection:
    """An API server, named by a kubeconfig file and a context in it, or by the pod this runs in."""

    def __init__(self, kubeconfig: str = "", context: str = "", pace: Pace | None = None) -> None:
        self.pace = pace or Pace()
        self._kubeconfig, self._context = kubeconfig, context
        self._lock = threading.Lock()
        self._client = self._connect()
        #: None: not tried yet.
        self.has_watch_list: bool | None = None

    def request(
        self,
        method: str,
        path: str,
        kind: str = "",
        name: str = "",
        *,
        query: Query = (),
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Answer:
        """Ask, and wait for the whole answer.

        ``kind`` and ``name`` are what errors speak of. Raises what errors.refusal makes of an answer that is
        not 2xx, and UnreachableError.
        """
        deadline = time.monotonic() + self.pace.answer
        asked = _Request(method, path, query, body, content_type)
        while True:
            response = self._send(asked, self.pace.answer)
            content = _read(response, deadline)
            if 200 <= response.status < 300:
                return Answer(response.status, content)
            # Whoever is asked to come back later does so, if that is soon enough.
            pause = retry_after_of(response.headers)
            if response.status != 429 or not 0 < pause < deadline - time.monotonic():
                raise refusal(response.status, content, pause, kind, name)
            time.sleep(pause)

    def stream(self, path: str, kind: str, query: Query) -> Stream:
        """Begin a request whose answer goes on; errors as for ``request``."""
        response = self._send(_Request("GET", path, query), self.pace.silence)
        if response.status == 200:
            return Stream(response)
        body = _read(response, time.monotonic() + self.pace.answer)
        raise refusal(response.status, body, retry_after_of(response.headers), kind, "")

    def close(self) -> None:
        """Drop the connections that are kept for later."""
        self._client.rest_client.close()

    def _send(self, request: _Request, patience: float) -> urllib3.HTTPResponse:
        """Send a request; when the credentials are refused, once more with those that are valid now."""
        client = self._client
        response = _send_by(client, request, (self.pace.connect, patience))
        if response.status != 401:
            return response
        _read(response, time.monotonic() + self.pace.answer)
        return _send_by(self._renew(client), request, (self.pace.connect, patience))

    def _renew(self, refused: Any) -> Any:
        """A client with credentials read anew, unless another thread made one already."""
        with self._lock:
            if self._client is refused:
                log.info("credentials refused by the API server; reading them again")
                self._client = self._connect()
            return self._client

    def _connect(self) -> Any:
        configuration = Configuration()
        # Our own pauses are the only ones: urllib3 would also sleep as long as a Retry-After says.
        configuration.retries = False
        configuration.connection_pool_maxsize = _POOL
        try:
            if self._kubeconfig:
                load_kube_config(self._kubeconfig, self._context or None, configuration, persist_config=False)
            else:
                load_incluster_config(configuration)
        except (ConfigException, OSError, ValueError, TypeError, KeyError) as error:
            where = self._kubeconfig or "in-cluster configuration"
            msg = f"{where}: {error}"
            raise DatastoreError(msg) from error
        _tidy_tokens(configuration)
        client = ApiClient(configuration)
        client.user_agent = _USER_AGENT
        return client


def _send_by(client: Any, request: _Request, timeouts: tuple[float, float]) -> urllib3.HTTPResponse:
    headers = {"Accept": "application/json"}
    if request.body is not None:
        headers["Content-Type"] = request.content_type
    with _as_unreachable():
        parameters = client.param_serialize(
            request.method,
            request.path,
            query_params=list(request.query),
            header_params=headers,
            body=request.body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = client.call_api(*parameters, _request_timeout=timeouts)
        except urllib3.exceptions.ProtocolError as error:
            if request.method != "GET" or not _without_answer(error):
                raise
            # Servers close connections that were idle, perhaps while a request is on its way. Only a
            # read is asked again: what became of a write nobody knows, and its caller must look.
            answer = client.call_api(*parameters, _request_timeout=timeouts)
    response: urllib3.HTTPResponse = answer.response
    return response


def _without_answer(error: urllib3.exceptions.ProtocolError) -> bool:
    """Whether the connection ended before any byte of an answer."""
    return any(isinstance(cause, (ConnectionResetError, BrokenPipeError)) for cause in error.args)


def _tidy_tokens(configuration: Any) -> None:
    """Take the line's end off a token from a file; no header may have one."""
    refresh = configuration.refresh_api_key_hook

    def tidy(current: Any) -> None:
        if refresh is not None:
            refresh(current)
            # It has put itself in this one's place.
            current.refresh_api_key_hook = tidy
        current.api_key = {name: token.strip() for name, token in current.api_key.items()}

    tidy(configuration)
    configuration.refresh_api_key_hook = tidy


def _read(response: urllib3.HTTPResponse, deadline: float) -> bytes:
    """The whole body; a server that lets it drip is given up at ``deadline``."""
    parts = []
    with _as_unreachable():
        for part in response.stream(_CHUNK):
            parts.append(part)
            if time.monotonic() > deadline:
                response.close()
                raise UnreachableError("the API server's answer takes too long")
        response.release_conn()
    return b"".join(parts)


@contextlib.contextmanager
def _as_unreachable() -> Iterator[None]:
    """Whatever happens to a connection, in one word."""
    try:
        yield
    except (DatastoreError, ManifestError):
        raise
    except (urllib3.exceptions.HTTPError, ApiException, OSError, ValueError, AttributeError) as error:
        # ValueError, AttributeError: what reading from a connection that is closed meanwhile ends in.
        reason = " ".join(str(error).split()) or type(error).__name__
        msg = f"API server: {reason}"
        raise UnreachableError(msg) from error
