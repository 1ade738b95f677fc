"""HTTP in front of a Storage: routes, rights, lists, watches."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import sys
import threading
import time
from collections import Counter, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from tests.support.apiserver.faults import Faults, Request
from tests.support.apiserver.kinds import Served
from tests.support.apiserver.routes import Target, bookmark, check_query, discover, list_of
from tests.support.apiserver.storage import ApiError, Object, Storage

ADMIN = "admin-token"
#: Rights: the (verb, plural) pairs a user may use; a subresource is plural/status. None: everything.
Rights = frozenset[tuple[str, str]] | None

_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class ApiServer:
    """The server. ``kill`` and ``start`` again leave port and storage as they are.

    ``watch_list``: "yes", or how a server without it behaves: "event" (ERROR event), "refused" (422),
    "ignored". ``gone``: whether an old version is refused by "event" or by "status". ``bookmark``: seconds
    between bookmarks. ``users``: rights by token. ``tls``: a certificate and its key, to speak HTTPS.
    ``sent``: bytes of answers so far, by verb and plural.
    """

    def __init__(
        self,
        storage: Storage | None = None,
        tls: tuple[Path, Path] | None = None,
        address: str = "127.0.0.1",
    ) -> None:
        self.tls = tls
        self.address = address
        self.sent: Counter[tuple[str, str]] = Counter()
        self.storage = storage or Storage()
        self.faults = Faults()
        self.users: dict[str, Rights] = {ADMIN: None}
        self.watch_list = "yes"
        self.gone = "event"
        self.bookmark = 60.0
        self.port = 0
        self._http: _Http | None = None

    def start(self) -> None:
        """Serve."""
        self._http = _Http((self.address, self.port), self)
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.02,), name="apiserver", daemon=True).start()

    def kill(self) -> None:
        """End as by kill -9: every connection breaks at once, the history is forgotten."""
        http, self._http = self._http, None
        if http is None:
            return
        http.alive = False
        http.shutdown()
        http.server_close()
        http.cut_connections()
        self.faults.thaw()
        with self.storage.changed:
            self.storage.changed.notify_all()
        self.storage.compact()

    def cut_connections(self) -> None:
        """Break every connection there is; the server goes on."""
        assert self._http is not None
        self._http.cut_connections()

    def tell_watches(self, line: bytes, plural: str = "", *, close: bool = False) -> int:
        """Send bytes to every watch (of a kind), and perhaps end it; the number of watches told."""
        with self.storage.changed:
            watches = [watch for watch in self.watches if plural in ("", watch.plural)]
            for watch in watches:
                watch.orders.append((line, close))
            self.storage.changed.notify_all()
        return len(watches)

    @property
    def watches(self) -> set[Watch]:
        """The watches that run now."""
        return self._http.watches if self._http else set()

    def kubeconfig(self, folder: Path, token: str = ADMIN) -> str:
        """Write a kubeconfig file for this server with a token in a file of its own; the path."""
        (folder / "token").write_text(token + "\n")
        path = folder / "kubeconfig"
        trust = f", certificate-authority: '{self.tls[0]}'" if self.tls else ""
        scheme = "https" if self.tls else "http"
        path.write_text(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\n"
            f"clusters: [{{name: it, cluster: {{server: '{scheme}://{self.address}:{self.port}'{trust}}}}}]\n"
            "contexts: [{name: it, context: {cluster: it, user: it}}]\n"
            f"users: [{{name: it, user: {{tokenFile: '{folder}/token'}}}}]\n"
        )
        return str(path)


class Watch:
    """One running watch; ``orders`` are bytes to send, and whether to end then."""

    def __init__(self, plural: str) -> None:
        self.plural = plural
        self.orders: deque[tuple[bytes, bool]] = deque()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], server: ApiServer) -> None:
        self.api = server
        self.alive = True
        self.watches: set[Watch] = set()
        self._connections: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the connection's own thread: a slow handshake holds nobody up."""
        if self.api.tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.api.tls)
            self._connections.discard(request)
            request = context.wrap_socket(request, server_side=True)
            self._connections.add(request)
        super().finish_request(request, client_address)
        if self.api.tls is not None:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def cut_connections(self) -> None:
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                # No farewell, but a reset: what a killed process' kernel sends.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; a defect of this stand-in is."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Http
    #: Verb and plural of the request; none for a path that leads nowhere.
    _about = ("", "")

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_PATCH(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's)
        """Tests are quiet."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._about = ("", "")
        api = self.server.api
        api.faults.wait()
        if not self.server.alive:
            self.close_connection = True
            return
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        try:
            target = Target.parse([unquote(step) for step in parts.path.split("/") if step], api.storage)
            watch = query.get("watch") in ("true", "1") and self.command == "GET" and not target.name
            verb = "watch" if watch else _VERBS[self.command]
            if verb == "get" and not target.name and target.kind:
                verb = "list"
            self._about = verb, target.plural
            if self._hit_by_fault(Request(verb, target.plural, watch, query, self._token())):
                return
            self._authorize(verb, target)
            check_query(query)
            if verb == "patch" and self.headers.get("Content-Type") != "application/merge-patch+json":
                raise ApiError(
                    415, "UnsupportedMediaType", "the body of the request was in an unknown format"
                )
            self._answer(verb, target, query, msgspec.json.decode(body) if body else {})
        except ApiError as error:
            self._send(error.code, error.body())
        except msgspec.DecodeError as error:
            refusal = ApiError(400, "BadRequest", str(error))
            self._send(400, msgspec.json.encode(refusal.status))

    def _hit_by_fault(self, request: Request) -> bool:
        fault = self.server.api.faults.take(request)
        if fault is None:
            return False
        time.sleep(fault.delay)
        if fault.hang_up:
            self.close_connection = True
            return True
        if not fault.status:
            return False
        self._send(fault.status, fault.body, fault.headers, cut=fault.cut)
        return True

    def _token(self) -> str:
        return (self.headers.get("Authorization") or "").partition(" ")[2]

    def _authorize(self, verb: str, target: Target) -> None:
        users = self.server.api.users
        token = self._token()
        if token not in users:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        rights = users[token]
        resource = f"{target.plural}/{target.subresource}" if target.subresource else target.plural
        if rights is not None and target.plural and (verb, resource) not in rights:
            raise ApiError(403, "Forbidden", f'User cannot {verb} resource "{resource}" in API group')

    def _answer(self, verb: str, target: Target, query: dict[str, str], body: Object) -> None:
        storage, kind = self.server.api.storage, target.kind
        if kind is None:
            self._send(200, msgspec.json.encode(discover(target, storage)))
            return
        status = target.subresource == "status"
        if status and not kind.status:
            # As it is for custom resources: it says that the object is missing, not its subresource.
            raise storage.missing(kind, target.name)
        match verb:
            case "watch":
                self._watch(kind, target.namespace, query)
                return
            case "list":
                answer: Object = list_of(storage, kind, target.namespace, query)
            case "get":
                answer = storage.get(kind, target.namespace, target.name)
            case "create":
                answer = storage.create(kind, target.namespace, body, dry=query.get("dryRun") == "All")
            case "update":
                answer = storage.update(kind, target.namespace, target.name, body, status=status)
            case "patch":
                answer = storage.patch(kind, target.namespace, target.name, body, status=status)
            case _:
                preconditions = body.get("preconditions") or {}
                answer = storage.delete(kind, target.namespace, target.name, preconditions)
        self._send(201 if verb == "create" else 200, msgspec.json.encode(answer))

    def _send(
        self, code: int, body: bytes, headers: dict[str, str] | None = None, *, cut: bool = False
    ) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.server.api.sent[self._about] += len(body)
        if cut:
            self.close_connection = True

    def _watch(self, kind: Served, namespace: str, query: dict[str, str]) -> None:
        api = self.server.api
        initial = query.get("sendInitialEvents") == "true"
        if initial and query.get("resourceVersionMatch") != "NotOlderThan":
            raise ApiError(422, "Invalid", "sendInitialEvents needs resourceVersionMatch=NotOlderThan")
        if initial and api.watch_list == "refused":
            raise ApiError(
                422, "Invalid", "sendInitialEvents is forbidden for watch unless the feature is on"
            )
        version = int(query.get("resourceVersion") or 0)
        if not initial and version and api.gone == "status":
            with api.storage.changed:
                api.storage.since(kind, version)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        watch = Watch(kind.plural)
        with api.storage.changed:
            self.server.watches.add(watch)
        try:
            self._follow(kind, namespace, query, watch)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
        finally:
            with api.storage.changed:
                self.server.watches.discard(watch)

    def _follow(self, kind: Served, namespace: str, query: dict[str, str], watch: Watch) -> None:
        """Send events until the watch ends."""
        api, storage = self.server.api, self.server.api.storage
        try:
            last = self._begin(kind, namespace, query)
            end = time.monotonic() + int(query.get("timeoutSeconds") or 1800)
            bookmark_at = time.monotonic() + api.bookmark
            while time.monotonic() < end and self.server.alive and storage.serves(kind):
                api.faults.wait()
                with storage.changed:
                    if not storage.since(kind, last) and not watch.orders:
                        storage.changed.wait(min(0.1, api.bookmark))
                    if api.faults.frozen:
                        continue
                    changes, revision = storage.since(kind, last), storage.revision
                for _, type_, changed in changes:
                    if namespace in ("", changed["metadata"].get("namespace", "")):
                        self._event(type_, changed)
                last = max(last, revision)
                if self._obey(watch):
                    return
                if time.monotonic() >= bookmark_at and query.get("allowWatchBookmarks") == "true":
                    bookmark_at = time.monotonic() + api.bookmark
                    self._event("BOOKMARK", bookmark(kind, revision))
        except ApiError as error:
            self._event("ERROR", error.status)

    def _begin(self, kind: Served, namespace: str, query: dict[str, str]) -> int:
        """The initial events, if any were asked for; the revision to go on from."""
        api = self.server.api
        initial = query.get("sendInitialEvents") == "true"
        if initial and api.watch_list == "event":
            raise ApiError(500, "InternalError", "etcd does not support progress notifications")
        last = int(query.get("resourceVersion") or 0)
        if not last:
            objects, last, _ = api.storage.list(kind, namespace)
            for each in objects:
                self._event("ADDED", each)
            if initial and api.watch_list == "yes":
                self._event("BOOKMARK", bookmark(kind, last, end=True))
        return last

    def _obey(self, watch: Watch) -> bool:
        """Send what a test wants to be sent; True if the watch is to end."""
        while watch.orders:
            line, close = watch.orders.popleft()
            self._chunk(line)
            if close:
                return True
        return False

    def _event(self, type_: str, changed: Object) -> None:
        self._chunk(msgspec.json.encode({"type": type_, "object": changed}) + b"\n")

    def _chunk(self, content: bytes) -> None:
        if content:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(content), content))
        self.server.api.sent[self._about] += len(content)
