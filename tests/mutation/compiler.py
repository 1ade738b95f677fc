"""Faults of the compiler."""

from __future__ import annotations

from tests.mutation.fault import Fault

ENGINES = "tests/property/test_engines_agree.py::test_reference_and_image_agree_on_random_packets"
PIPELINE = "tests/unit/test_compiler_pipeline.py"
EDGES = "tests/unit/test_compiler_edges.py"
PAGES = "tests/unit/test_compiler_pages.py"
MERGE = "tests/unit/test_compiler_merge.py"


def _compiler(file: str, what: str, old: str, new: str, *tests: str) -> Fault:
    return Fault(what, f"pyagent/compiler/{file}", old, new, tests or (PIPELINE, ENGINES))


COMPILER = (
    _compiler(
        "layer4.py",
        "a range's last port left out",
        "_union((low, high + 1) for low, high in included)",
        "_union((low, high) for low, high in included)",
    ),
    _compiler(
        "layer4.py",
        "excluded ports forgotten",
        "_union((low, high + 1) for low, high in excluded)) if excluded else wanted",
        "_union((low, low) for low, high in excluded)) if excluded else wanted",
    ),
    _compiler("layer4.py", "excluded protocols forgotten", " - l4.not_protocols", ""),
    _compiler(
        "layer4.py",
        "excluded source ports for portless protocols",
        "return _present([ports, (_cells(l4, protocols - _PORT_PROTOCOLS), EVERY_PORT)])",
        "return _present([ports])",
        EDGES,
    ),
    _compiler("layer4.py", "notICMP forgotten", "() if l4.not_icmp is None else (_icmp(l4.not_icmp),)", "()"),
    _compiler(
        "layer4.py",
        "any code of the type before",
        "(number << 8, (number + 1) << 8) if code is None",
        "(number << 8, (number << 8) + 1) if code is None",
    ),
    _compiler(
        "addresses.py",
        "networks one address too long",
        "[address + (1 << (width - length)) for address, length in nets]",
        "[min(address + (1 << (width - length)) + 1, 1 << width) for address, length in nets]",
    ),
    _compiler(
        "table.py", "notNets and notSelector forgotten", "rows[index] &= ~classes.members[number]", "pass"
    ),
    _compiler(
        "table.py", "rules for both versions whatever they say", "source[: len(here)][~here] = 0", "pass"
    ),
    _compiler(
        "outcome.py",
        "fragments get the worst",
        "{Action.ALLOW: 0, Action.NONE: 1, Action.DENY: 2}",
        "{Action.ALLOW: 2, Action.NONE: 1, Action.DENY: 0}",
    ),
    _compiler(
        "paint.py", "the last rule wins", "for rule in reversed(policy.rules):", "for rule in policy.rules:"
    ),
    _compiler(
        "paint.py", "the last policy wins", "for policy in reversed(enforced):", "for policy in enforced:"
    ),
    _compiler(
        "paint.py", "tiers in reverse", "for tier in reversed(table.tiers):", "for tier in table.tiers:"
    ),
    _compiler(
        "paint.py",
        "a tier's end forgotten",
        "if tier.end is RuleAction.DENY:",
        "if tier.end is RuleAction.LOG:",
    ),
    _compiler("paint.py", "Pass is no match", "canvas.copy(at, passing)", "pass"),
    _compiler(
        "paint.py",
        "staged policies enforced",
        "enforced = [policy for policy in tier.policies if not policy.staged]",
        "enforced = list(tier.policies)",
    ),
    _compiler(
        "paint.py",
        "Pass in a profile goes on",
        "canvas.fill(at, passing(rule.ref))",
        "pass",
        EDGES,
    ),
    _compiler(
        "trie4.py",
        "the second level's blocks misplaced",
        "deep[span] & 255] = leaves[span]",
        "deep[span] & 127] = leaves[span]",
    ),
    _compiler("trie6.py", "a skip takes a byte too few", "else bits // 8", "else max(bits // 8 - 1, 0)"),
    _compiler(
        "pages.py",
        "every page the row's first",
        "for at in range(0, len(whole), length))",
        "for at in (at // (width * length) * (width * length) for at in range(0, len(whole), length)))",
        PAGES,
    ),
    _compiler(
        "table.py", "pages without the merged columns", "(part[:, columns] for part", "(part for part", PAGES
    ),
    _compiler(
        "merge.py", "rows kept in pages forgotten", "        if self._paged:\n", "        if False:\n", MERGE
    ),
    _compiler(
        "painted.py",
        "pages taken for what is written out",
        "other.key, other.digest, other.dense, other.places,",
        "other.key, other.digest, self.dense, other.places,",
        PAGES,
    ),
    _compiler("compile.py", "nodes are no nodes", "node * np.uint8(abi.ADDRESS_NODE)", "node * np.uint8(0)"),
    _compiler(
        "compile.py",
        "Accept and Drop exchanged",
        "PodToHost.ACCEPT: abi.IMAGE_POD_TO_HOST_ACCEPT",
        "PodToHost.ACCEPT: abi.IMAGE_POD_TO_HOST_DROP",
    ),
)
