"""A view of a datastore in which a test has every name for itself: others' are not seen."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

from msgspec.structs import replace

from pyagent.datastore import Datastore, EventType, WatchEvent
from pyagent.datastore.protocol import R
from pyagent.errors import AlreadyExistsError, ConflictError, DatastoreError, NotFoundError
from pyagent.model import KINDS, Resource

_LONGEST = 253
_NAMED_ERRORS = (NotFoundError, AlreadyExistsError, ConflictError)


class OwnNames:
    """Datastore over ``inner``; ``make_namespace`` is called before a namespace is first used."""

    def __init__(self, inner: Datastore, make_namespace: Callable[[str], None]) -> None:
        self.inner = inner
        self.mark = f"ahtest-{secrets.token_hex(4)}-"
        self.namespaces: set[str] = set()
        self._make_namespace = make_namespace
        self._names: dict[str, str] = {}

    def list(self, kind: str, namespace: str | None = None) -> tuple[list[Resource], str]:
        inside = None if namespace is None else self._outer(namespace)
        resources, revision = self.inner.list(kind, inside)
        return [self._unmarked(each) for each in resources if each.name in self._names], revision

    def get(self, kind: str, name: str, namespace: str = "") -> Resource:
        with self._own_errors(name):
            return self._unmarked(self.inner.get(kind, self._outer(name), self._outer(namespace)))

    def create(self, resource: R) -> R:
        if resource.metadata.namespace:
            self.use(self._outer(resource.metadata.namespace))
        return self._through(self.inner.create, resource)

    def update(self, resource: R) -> R:
        return self._through(self.inner.update, resource)

    def update_status(self, resource: R) -> R:
        return self._through(self.inner.update_status, resource)

    def delete(self, kind: str, name: str, namespace: str = "", resource_version: str = "") -> None:
        with self._own_errors(name):
            self.inner.delete(kind, self._outer(name), self._outer(namespace), resource_version)

    async def watch(self, kinds: Sequence[str]) -> AsyncGenerator[WatchEvent, None]:
        async with contextlib.aclosing(self.inner.watch(kinds)) as events:
            async for event in events:
                if event.type is EventType.SYNCED:
                    yield event
                elif event.name in self._names:
                    resource = event.resource and self._unmarked(event.resource)
                    name, namespace = self._names[event.name], self._names.get(event.namespace, "")
                    yield WatchEvent(event.type, event.kind, name, namespace, resource, event.problems)

    def remove_all(self) -> None:
        """Delete everything under these names."""
        for kind in KINDS:
            with contextlib.suppress(DatastoreError):
                for each in self.inner.list(kind)[0]:
                    if each.name in self._names:
                        self.inner.delete(kind, each.name, each.metadata.namespace)

    def use(self, namespace: str) -> None:
        """Make a namespace unless it was made before; it is removed with the rest."""
        if namespace not in self.namespaces:
            self.namespaces.add(namespace)
            self._make_namespace(namespace)

    def _outer(self, name: str) -> str:
        """``name`` with the mark; a name of the greatest length keeps its end and its length."""
        if not name:
            return name
        longest = len(self.mark) + len(name) > _LONGEST >= len(name)
        outer = self.mark + (name[len(self.mark) :] if longest else name)
        self._names[outer] = name
        return outer

    def _through(self, call: Callable[[R], R], resource: R) -> R:
        metadata = resource.metadata
        marked = replace(metadata, name=self._outer(metadata.name), namespace=self._outer(metadata.namespace))
        with self._own_errors(metadata.name):
            return self._unmarked(call(replace(resource, metadata=marked)))

    def _unmarked(self, resource: R) -> R:
        metadata = resource.metadata
        own = replace(
            metadata, name=self._names[metadata.name], namespace=self._names.get(metadata.namespace, "")
        )
        return replace(resource, metadata=own)

    @contextlib.contextmanager
    def _own_errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except _NAMED_ERRORS as error:
            raise type(error)(error.kind, name) from error
