"""The definitions: made from the model, structural, and of the same opinion as the validation."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyagent import manifest
from pyagent.crds import PRESENTATIONS, definitions
from pyagent.crds.definition import files
from pyagent.model import AUTOHEP_V1, CALICO_V3, KINDS
from tests.support.apiserver.schema import check, fill, holds, prune
from tests.support.generate import random_world
from tests.unit.test_manifest_validation import CASES

PROJECT = Path(__file__).parents[2]
SCHEMAS: dict[str, dict[str, Any]] = {
    each["spec"]["names"]["kind"]: each["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for each in definitions()
}
#: Rules that a schema cannot tell, or not cheaply enough: the controller says them on the object.
ONLY_THE_CONTROLLER = {
    *(
        "1 name",
        "1 length",
        "1 required",
        "4 key",
        "4 prefix",
        "4 key length",
        "4 value",
        "5 key",
        "5 size",
        "6",
    ),
    *(
        "7",
        "11 twice",
        "19 selector",
        "19 namespace",
        "19 account",
        "20 syntax",
        "order",
        "27 range",
        "29 high",
    ),
    *(
        "29 long",
        "29 order",
        "29 range",
        "35 mask",
        "35 text",
        "35 long",
        "36",
        "37",
        "39 selector",
        "39 not",
    ),
    *("39 alone", "39 syntax", "40 methods", "40 slash", "40 query", "40 xor", "account selector"),
    *("rule annotation", "profile labels", "43", "44 order", "45 period", "45 policy", "1.4 pattern"),
    *(
        "1.4 selector",
        "1.4 labels",
        "1.4 annotations",
        "46 node ports",
        "46 exclude",
        "46 interval",
        "46 log",
    ),
}


def refusals(document: dict[str, Any]) -> list[str]:
    """What an API server says to a manifest."""
    schema = SCHEMAS[document["kind"]]
    metadata = document["metadata"]
    body = fill(prune({**document, "metadata": {}}, schema), schema)
    body["metadata"] = {"name": metadata.get("name", "")}
    return [f"{cause['field']}: {cause['message']}" for cause in check(body, schema)]


def test_the_files_are_those_that_the_model_gives() -> None:
    folder = PROJECT / "deploy" / "crds"
    found = {path.name: path.read_text() for path in folder.iterdir()}
    assert found == files(), "run `make crds`"


def test_there_is_a_definition_for_every_kind_of_ours() -> None:
    ours = (CALICO_V3, AUTOHEP_V1)
    assert set(PRESENTATIONS) == {kind.KIND for kind in KINDS.values() if kind.API_VERSION in ours}


@pytest.mark.parametrize(
    "case", [case for case in CASES if case[4]["kind"] in SCHEMAS], ids=lambda case: case[0]
)
def test_what_the_validation_accepts_the_schema_accepts(case: Any) -> None:
    assert refusals(case[4]) == []


@pytest.mark.parametrize(
    "case", [case for case in CASES if case[1]["kind"] in SCHEMAS], ids=lambda case: case[0]
)
def test_what_the_validation_refuses_the_schema_refuses_unless_it_cannot_tell(case: Any) -> None:
    assert bool(refusals(case[1])) is (case[0] not in ONLY_THE_CONTROLLER)


@pytest.mark.parametrize("seed", range(20))
def test_random_resources_are_accepted_and_none_of_their_fields_is_lost(seed: int) -> None:
    for resource in random_world(seed).resources:
        if resource.kind not in SCHEMAS:
            continue
        document = manifest.encode(manifest.default(resource))
        assert refusals(document) == []
        assert prune(document, SCHEMAS[resource.kind]).get("spec") == document.get("spec")


@pytest.mark.parametrize(
    "path", sorted((PROJECT / "examples" / "seed").glob("*.yaml")), ids=lambda path: path.name
)
def test_the_seeds_manifests_are_accepted(path: Path) -> None:
    for document in manifest.load_paths([str(path)]):
        if document.resource is not None and document.kind in SCHEMAS:
            assert refusals(manifest.encode(document.resource)) == []


def nodes(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside a schema."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield from nodes(schema[name], f"{path}.{name}")


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
def test_a_schema_is_structural(kind: str) -> None:
    for path, schema in nodes(SCHEMAS[kind], kind):
        free = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
        assert "type" in schema or free, path
        assert not {"properties", "additionalProperties"} <= schema.keys(), path
        assert schema.get("type") != "array" or "items" in schema, path
        if schema.get("x-kubernetes-list-type") == "map":
            keys = set(schema["x-kubernetes-list-map-keys"])
            assert keys <= set(schema["items"]["required"]), path


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
def test_lists_and_texts_that_rules_run_over_are_bounded(kind: str) -> None:
    # An API server refuses a definition whose rules may cost too much.
    for path, schema in nodes(SCHEMAS[kind], kind):
        if schema.get("type") == "array" and any(
            "x-kubernetes-validations" in each for _, each in nodes(schema, "")
        ):
            assert "maxItems" in schema, path


def test_rules_name_only_fields_that_the_schema_has() -> None:
    # An API server compiles rules against the schema and refuses the definition for one wrong name.
    for kind, schema in SCHEMAS.items():
        for path, each in nodes(schema, kind):
            known = {name for _, inner in nodes(each, "") for name in inner.get("properties", {})} | {"name"}
            for rule in each.get("x-kubernetes-validations", ()):
                text = re.sub(r"'[^']*'", "''", rule["rule"])
                named = set(re.findall(r"\.([A-Za-z_]+)(?!\w*\()", text))
                assert named <= known | {"__namespace__"}, f"{path}: {named - known}"


def test_rules_look_only_at_what_is_there() -> None:
    for kind, each in itertools.chain.from_iterable(
        ((kind, schema) for _, schema in nodes(SCHEMAS[kind], kind)) for kind in SCHEMAS
    ):
        for rule in each.get("x-kubernetes-validations", ()):
            least = {name: _least(each["properties"][name]) for name in each.get("required", ())}
            holds(
                rule["rule"],
                {"metadata": {"name": "x"}, **least} if "metadata" in each["properties"] else least,
            )
            assert rule["message"], kind


def _least(schema: dict[str, Any]) -> Any:
    """A value of a required field."""
    return {"string": "", "integer": 0, "object": {}}.get(schema.get("type", ""), "")
