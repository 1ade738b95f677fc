"""What is kept beside an image for people: the policies as written, and the members of every address set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyagent.agent.state import StateDirectory
from pyagent.compiler import Image, Walker, compile_image
from pyagent.compiler import saved as saved_images
from pyagent.compiler.outline import unpack_members
from pyagent.errors import AutohepError, DriftError
from pyagent.model.policy import EntityRule, Rule
from tests.support.policy_world import allow, deny, policy, view_of
from tests.support.resources import host_endpoint

WEB = allow(protocol="TCP", source=EntityRule(nets=("192.0.2.0/24", "2001:db8::/32")),
            destination=EntityRule(ports=(80, 443)))  # fmt: skip
PINGS = Rule(action="Log", protocol="ICMP", ip_version=4)


@pytest.fixture(scope="module")
def image() -> Image:
    gate = policy("gate", PINGS, WEB, deny(), selector="all()")
    trial = policy("trial", deny(source=EntityRule(nets=("192.0.2.9/32",))), staged="Set", selector="all()")
    return compile_image(view_of(host_endpoint("h", "n1"), gate, trial), 3)


def test_policies_stand_in_their_order_with_their_rules(image: Image) -> None:
    outline = image.outline()
    (endpoint,) = outline["endpoints"]
    table = endpoint["tables"]["local_ingress"]
    names = [outline["policies"][place]["name"] for tier in table["tiers"] for place in tier["policies"]]
    assert (endpoint["name"], names, table["tiers"][0]["end"]) == ("h", ["gate", "trial"], "Deny")
    gate, trial = (next(each for each in outline["policies"] if each["name"] == name) for name in names)
    assert [rule["action"] for rule in gate["rules"]] == ["Log", "Allow", "Deny"]
    assert [rule["place"] for rule in gate["rules"]] == [f"gate/ingress[{index}]" for index in range(3)]
    assert (gate["staged"], trial["staged"]) == (False, True)
    assert {str(rule["key"]) for rule in gate["rules"]} <= image.metadata["rules"].keys()


def test_the_conditions_of_a_rule_are_told(image: Image) -> None:
    outline = image.outline()
    log, web, _ = next(each for each in outline["policies"] if each["name"] == "gate")["rules"]
    ((source, destination, layer4, version),) = web["matches"]
    assert outline["layer4"][layer4] == {"protocols": [6], "ports": [[80, 80], [443, 443]]}
    assert outline["sides"][destination] == {"all_of": [], "none_of": []}
    assert len(outline["sides"][source]["all_of"]) == 1
    assert (version, log["matches"][0][3]) == (0, 4)


@pytest.mark.parametrize(
    ("version", "address", "inside"),
    [
        (4, 0xC0000209, True), (4, 0xC00002FF, True), (4, 0xC0000301, False),
        (6, 0x20010DB8 << 96 | 1, True), (6, 0x20010DB9 << 96, False),
    ],
)  # fmt: skip
def test_members_say_which_class_lies_in_which_set(
    image: Image, version: int, address: int, inside: bool
) -> None:
    outline = image.outline()
    web = next(each for each in outline["policies"] if each["name"] == "gate")["rules"][1]
    ((_, number),) = outline["sides"][web["matches"][0][0]]["all_of"]
    packed = next(each for each in outline["members"] if each["version"] == version)
    place = Walker(image).address_class(version, address) - packed["base"]
    row = unpack_members(packed)[number * packed["row"] :]
    assert bool(row[place >> 3] >> (7 - (place & 7)) & 1) is inside


def test_the_agent_keeps_it_with_the_image_and_it_is_read_back(image: Image, tmp_path: Path) -> None:
    StateDirectory(tmp_path).write_image(image)
    saved = saved_images.load(tmp_path)
    assert (saved.generation, saved.size) == (3, len(image.data))
    assert saved.metadata["policies"] == json.loads(json.dumps(image.outline()["policies"]))


def test_what_is_saved_and_not_whole_is_refused(image: Image, tmp_path: Path) -> None:
    StateDirectory(tmp_path).write_image(image)
    path = tmp_path / saved_images.IMAGE
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    with pytest.raises(DriftError, match="cut off"):
        saved_images.load(tmp_path)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DriftError, match="damaged"):
        saved_images.load(tmp_path)
    path.write_bytes(b"no image" * 20)
    with pytest.raises(DriftError, match="no image of this version"):
        saved_images.load(tmp_path)
    path.write_bytes(whole)
    metadata = tmp_path / saved_images.METADATA
    metadata.write_text(metadata.read_text().replace('"generation": 3', '"generation": 2'))
    with pytest.raises(DriftError, match=r"generation 3, image\.json of generation 2"):
        saved_images.load(tmp_path)
    metadata.write_text("{")
    with pytest.raises(DriftError, match="damaged"):
        saved_images.load(tmp_path)
    with pytest.raises(AutohepError, match="does not exist"):
        saved_images.load(tmp_path / "elsewhere")
