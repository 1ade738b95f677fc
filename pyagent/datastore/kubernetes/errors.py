"""What an API server's refusals mean, in the words of the other datastore."""

from __future__ import annotations

from typing import Any

import msgspec

from pyagent.errors import (
    AlreadyExistsError,
    ConflictError,
    DatastoreError,
    ManifestError,
    NotFoundError,
    Problem,
)

_LONGEST_QUOTE = 300


class UnreachableError(DatastoreError):
    """No connection, no answer in time, or one that ended in the middle."""


class RefusedError(DatastoreError):
    """The API server answered with ``status``; ``retry_after`` is in seconds, 0 if it did not say."""

    def __init__(self, status: int, message: str, retry_after: float = 0.0) -> None:
        self.status, self.retry_after = status, retry_after
        super().__init__(message)


class NotServedError(RefusedError):
    """The API server does not know the kind: its definition (CRD) is missing."""


class ExpiredError(DatastoreError):
    """The server no longer has the version that was asked for: list again."""


class Cause(msgspec.Struct, frozen=True):
    """One entry of a Status' causes."""

    reason: str = ""
    message: str = ""
    field: str = ""


class Details(msgspec.Struct, frozen=True, rename="camel"):
    """A Status' details."""

    name: str = ""
    causes: tuple[Cause, ...] = ()
    retry_after_seconds: float = 0.0


class Status(msgspec.Struct, frozen=True):
    """Kubernetes' answer to a request that it does not fulfil."""

    kind: str = ""
    code: int = 0
    reason: str = ""
    message: str = ""
    details: Details = Details()


def parse_status(body: bytes) -> Status:
    """The Status in ``body``; an empty one if there is none."""
    try:
        status = msgspec.json.decode(body, type=Status)
    except msgspec.MsgspecError:
        return Status()
    return status if status.kind == "Status" else Status()


def refusal(
    code: int, body: bytes, retry_after: float, kind: str, name: str
) -> DatastoreError | ManifestError:
    """The error that an answer other than 2xx stands for; ``kind`` and ``name`` say what was asked for."""
    status = parse_status(body)
    message = status.message or _quote(body)
    if code == 404 and not status.details.name:
        # Of a missing object, or namespace, a server says the name.
        reason = f"the API server does not serve {kind}: is its CRD installed? ({message})"
        return NotServedError(code, reason)
    if code == 404 and status.details.name == name:
        return NotFoundError(kind, name)
    if code == 409:
        exists = status.reason == "AlreadyExists"
        return AlreadyExistsError(kind, name) if exists else ConflictError(kind, name)
    if code == 410:
        return ExpiredError(message)
    if code == 422:
        return ManifestError(_problems(status, message))
    retry_after = retry_after or status.details.retry_after_seconds
    return RefusedError(
        code, f"the API server refused {kind} {name}".rstrip() + f": {code} {message}", retry_after
    )


def _problems(status: Status, message: str) -> list[Problem]:
    return [Problem(cause.field, cause.message) for cause in status.details.causes] or [
        Problem("document", message)
    ]


def _quote(body: bytes) -> str:
    text = body[:_LONGEST_QUOTE].decode("utf-8", "replace").strip()
    return text if text.isprintable() else repr(text)


def retry_after_of(headers: Any) -> float:
    """The header Retry-After in seconds; 0 if there is none or it is a date."""
    text = headers.get("Retry-After") or ""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0
