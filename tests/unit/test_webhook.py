"""The admission webhook, over real TLS."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyagent.webhook import WebhookServer, review
from tests.support.apiserver.certificates import self_signed

GOOD = {
    "apiVersion": "projectcalico.org/v3",
    "kind": "GlobalNetworkPolicy",
    "metadata": {"name": "web", "managedFields": [{"manager": "kubectl"}]},
    "spec": {"selector": "role == 'web'", "ingress": [{"action": "Allow"}]},
}


def asked(obj: Any, operation: str = "CREATE") -> bytes:
    return json.dumps({"request": {"uid": "u1", "operation": operation, "object": obj}}).encode()


def with_spec(**spec: Any) -> dict[str, Any]:
    return {**GOOD, "spec": spec}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebhookServer]:
    server = WebhookServer(("127.0.0.1", 0), *self_signed(tmp_path))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def talk(
    server: WebhookServer, tmp_path: Path, method: str, path: str, body: bytes = b""
) -> tuple[int, bytes]:
    trust = ssl.create_default_context(cafile=str(tmp_path / "tls.crt"))
    connection = http.client.HTTPSConnection("127.0.0.1", server.server_port, context=trust, timeout=5)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_good_object_is_allowed_and_a_bad_one_refused_with_every_problem(
    server: WebhookServer, tmp_path: Path
) -> None:
    status, body = talk(server, tmp_path, "POST", "/validate?timeout=5s", asked(GOOD))
    assert status == 200
    assert json.loads(body)["response"] == {"uid": "u1", "allowed": True}
    bad = with_spec(selector="role ==", ingress=[{"action": "Allow", "source": {"nets": ["10.0.0.0/99"]}}])
    response = json.loads(talk(server, tmp_path, "POST", "/validate", asked(bad))[1])["response"]
    assert response["allowed"] is False
    fields = [cause["field"] for cause in response["status"]["details"]["causes"]]
    assert fields == ["spec.selector", "spec.ingress[0].source.nets[0]"]
    assert response["status"]["code"] == 422


def test_what_is_no_review_or_too_large_or_elsewhere_is_turned_away(
    server: WebhookServer, tmp_path: Path
) -> None:
    assert talk(server, tmp_path, "POST", "/validate", b"{}")[0] == 400
    assert talk(server, tmp_path, "POST", "/elsewhere", asked(GOOD))[0] == 404
    assert talk(server, tmp_path, "GET", "/livez") == (200, b"ok\n")
    trust = ssl.create_default_context(cafile=str(tmp_path / "tls.crt"))
    connection = http.client.HTTPSConnection("127.0.0.1", server.server_port, context=trust, timeout=5)
    connection.putrequest("POST", "/validate")
    connection.putheader("Content-Length", str(9 << 20))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_a_renewed_certificate_is_used_without_a_restart(server: WebhookServer, tmp_path: Path) -> None:
    before = ssl.get_server_certificate(("127.0.0.1", server.server_port))
    self_signed(tmp_path)
    after = ssl.get_server_certificate(("127.0.0.1", server.server_port))
    assert before != after
    assert after.split() == (tmp_path / "tls.crt").read_text().split()


def test_a_half_written_certificate_leaves_the_one_before(server: WebhookServer, tmp_path: Path) -> None:
    before = ssl.get_server_certificate(("127.0.0.1", server.server_port))
    (tmp_path / "tls.crt").write_text("-----BEGIN")
    assert ssl.get_server_certificate(("127.0.0.1", server.server_port)) == before


def test_rules_that_do_nothing_give_warnings() -> None:
    twice = with_spec(selector="all()", ingress=[{"action": "Allow"}, {"action": "Deny"}])
    response = review(asked(twice))["response"]
    assert response["allowed"] is True
    assert "web" in response["warnings"][0]
    assert "warnings" not in review(asked(GOOD))["response"]


def test_deletions_and_other_kinds_are_no_business_of_ours() -> None:
    assert review(asked(None, "DELETE"))["response"]["allowed"] is True
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"nonsense": 1}}
    assert review(asked(pod))["response"]["allowed"] is True
