"""Metrics and health as somebody who asks for them meets them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import AsyncIterator

import pytest

from pyagent.errors import UsageError
from pyagent.telemetry import (
    Family,
    Histogram,
    Kind,
    Page,
    Telemetry,
    health,
    metrics,
    process_families,
    render,
)
from pyagent.telemetry import server as server_module
from pyagent.telemetry.address import Address, parse_address
from pyagent.telemetry.logs import JsonFormatter, parts
from tests.support.prometheus import parse

ANYWHERE = Address("127.0.0.1", 0)


@contextlib.asynccontextmanager
async def serving(pages: dict[str, Page], address: Address = ANYWHERE) -> AsyncIterator[Telemetry]:
    telemetry = Telemetry(address, pages)
    task = asyncio.create_task(telemetry.serve())
    try:
        async with asyncio.timeout(5):
            while telemetry.bound is None:  # noqa: ASYNC110 (a test's wait)
                await asyncio.sleep(0.005)
        yield telemetry
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ask(telemetry: Telemetry, sent: bytes) -> bytes:
    assert telemetry.bound is not None
    reader, writer = await asyncio.open_connection(telemetry.bound.host, telemetry.bound.port)
    try:
        writer.write(sent)
        await writer.drain()
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def get(telemetry: Telemetry, path: str) -> tuple[int, str]:
    answer = await ask(telemetry, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, body = answer.split(b"\r\n\r\n", 1)
    return int(head.split()[1]), body.decode()


def test_families_are_written_as_prometheus_reads_them() -> None:
    family = Family("a_total", Kind.COUNTER, '"x"\n \\').add(3).add(0.5, {"why": 'a"b\\c\nd'})
    text = render([family]).decode()
    assert text == (
        '# HELP a_total "x"\\n \\\\\n# TYPE a_total counter\na_total 3\na_total{why="a\\"b\\\\c\\nd"} 0.5\n'
    )
    assert parse(text) == {("a_total", ()): 3.0, ("a_total", (("why", 'a"b\\c\nd'),)): 0.5}


def test_numbers_that_are_none_have_prometheus_names() -> None:
    values = [float("inf"), float("-inf"), float("nan"), 1e300]
    family = Family("x", Kind.GAUGE, "h")
    for value in values:
        family.add(value)
    written = [line.split()[1] for line in render([family]).decode().splitlines()[2:]]
    assert written == ["+Inf", "-Inf", "NaN", "1e+300"]


def test_a_histogram_counts_each_observation_in_its_bucket_and_all_above() -> None:
    histogram = Histogram("took_seconds", "how long", (0.1, 1))
    for value in (0.1, 0.5, 5):
        histogram.observe(value)
    found = parse(render([histogram.family()]).decode())
    buckets = {labels[0][1]: value for (name, labels), value in found.items() if name.endswith("_bucket")}
    assert buckets == {"0.1": 1, "1": 2, "+Inf": 3}
    assert found["took_seconds_sum", ()] == pytest.approx(5.6)
    assert found["took_seconds_count", ()] == 3


def test_the_process_tells_its_cpu_time_and_memory() -> None:
    found = {family.name: family.samples[0].value for family in process_families()}
    assert found["process_cpu_seconds_total"] > 0
    assert found["process_resident_memory_bytes"] > 1 << 20
    assert found["process_open_fds"] >= 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:9472", Address("127.0.0.1", 9472)),
        ("[::1]:1", Address("::1", 1)),
        ("0.0.0.0:80", Address("0.0.0.0", 80)),
        ("off", None),
    ],
)
def test_an_address_is_read(text: str, expected: Address | None) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text", [":9472", "9472", "localhost:1", "127.0.0.1:", "127.0.0.1:65536", "", "1.1.1.1:x"]
)
def test_an_address_that_does_not_say_everything_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_address(text)


def test_an_address_knows_who_gets_there() -> None:
    assert Address("127.0.0.1", 1).loopback
    assert not Address("127.0.0.1", 1).everywhere
    assert Address("::", 1).everywhere
    assert not Address("192.0.2.1", 1).loopback


async def test_pages_are_served_and_change() -> None:
    wrong = [""]
    pages = {
        "/metrics": metrics(lambda: [Family("x", Kind.GAUGE, "h").add(1)]),
        "/readyz": health(lambda: wrong[0]),
    }
    async with serving(pages) as telemetry:
        assert parse((await get(telemetry, "/metrics"))[1]) == {("x", ()): 1.0}
        assert await get(telemetry, "/readyz?verbose") == (200, "ok\n")
        wrong[0] = "no datastore"
        assert await get(telemetry, "/readyz") == (503, "no datastore\n")
        assert (await get(telemetry, "/"))[0] == 404


async def test_a_page_that_fails_is_an_error_and_the_next_is_served(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> list[Family]:
        raise KeyError("x")

    async with serving({"/metrics": metrics(fail), "/livez": health(str)}) as telemetry:
        assert (await get(telemetry, "/metrics"))[0] == 500
        assert (await get(telemetry, "/livez"))[0] == 200
    assert "page failed" in caplog.text


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/2\r\n\r\n",
        b"\xff\xfe x HTTP/1.1\r\n\r\n",
        b"G" * 20000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_request_gets_no_answer_and_harms_nobody(sent: bytes) -> None:
    async with serving({"/livez": health(str)}) as telemetry:
        assert await ask(telemetry, sent) == b""
        assert (await get(telemetry, "/livez"))[0] == 200


async def test_only_reading_is_served() -> None:
    async with serving({"/livez": health(str)}) as telemetry:
        assert b" 405 " in await ask(telemetry, b"POST /livez HTTP/1.1\r\n\r\n")
        head = await ask(telemetry, b"HEAD /livez HTTP/1.1\r\n\r\n")
        assert b" 200 " in head
        assert head.endswith(b"\r\n\r\n")


async def test_a_client_that_says_nothing_is_given_up_and_one_too_many_turned_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "_CLIENTS_MAX", 2)
    monkeypatch.setattr(server_module, "_PATIENCE_S", 0.2)
    async with serving({"/livez": health(str)}) as telemetry:
        silent = [asyncio.create_task(ask(telemetry, b"")) for _ in range(2)]
        while len(telemetry._clients) < 2:  # noqa: ASYNC110 (a test's wait)
            await asyncio.sleep(0.005)
        assert await ask(telemetry, b"GET /livez HTTP/1.1\r\n\r\n") == b""
        assert await asyncio.gather(*silent) == [b"", b""]
        assert (await get(telemetry, "/livez"))[0] == 200


async def test_an_address_that_is_taken_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module, "_RETRY_S", 0.01)
    async with serving({}) as first:
        assert first.bound is not None
        second = Telemetry(first.bound, {"/livez": health(str)})
        task = asyncio.create_task(second.serve())
        await asyncio.sleep(0.1)
        assert second.bound is None
    while second.bound is None:  # noqa: ASYNC110 (a test's wait)
        await asyncio.sleep(0.005)
    assert (await get(second, "/livez"))[0] == 200
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert caplog.text.count("metrics not served") == 1


def test_a_message_is_taken_apart_into_its_event_and_pairs() -> None:
    assert parts("policy in force generation=3 rule='a=\"b\" c' by=") == (
        "policy in force",
        {"generation": "3", "rule": 'a="b" c', "by": ""},
    )
    assert parts("nothing to take apart") == ("nothing to take apart", {})


def test_a_log_line_is_one_json_object() -> None:
    try:
        raise ValueError("it\nfailed")
    except ValueError:
        failure = sys.exc_info()
    record = logging.LogRecord(
        "pyagent.x", logging.ERROR, "f", 1, "pass failed reason=%r level=%s", ("it's", "high"), failure
    )
    line = JsonFormatter().format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert (found["event"], found["reason"], found["level"], found["level_"]) == (
        "pass failed",
        "it's",
        "error",
        "high",
    )
    assert "ValueError" in found["exception"]
