"""One text from several C files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pyagent.bpf.amalgamate import amalgamate
from pyagent.bpf.loader import source_dir
from pyagent.errors import BuildError

GUARDED = "#ifndef A_H\n#define A_H\nint from_a;\n#endif\n"


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder / "main.c"


def clang(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["clang", "-fsyntax-only", "-x", "c", "-"], input=text, capture_output=True, text=True, check=False
    )


def test_headers_are_put_in_the_place_of_their_include(tmp_path: Path) -> None:
    main = write(tmp_path, a_h=GUARDED, main_c='#include "a.h"\nint from_main;\n')
    text = amalgamate(main)
    assert '#include "' not in text
    assert text.index("from_a") < text.index("from_main")


def test_a_header_included_twice_counts_once_by_its_guard(tmp_path: Path) -> None:
    both = '#include "a.h"\n#include "b.h"\nint sum(void) { return from_a; }\n'
    main = write(
        tmp_path,
        a_h=GUARDED.replace("int from_a", "static const int from_a = 1"),
        b_h='#include "a.h"\n',
        main_c=both,
    )
    assert clang(amalgamate(main)).returncode == 0


def test_messages_name_the_file_and_line_of_the_original(tmp_path: Path) -> None:
    main = write(tmp_path, a_h=GUARDED, main_c='#include "a.h"\n\nint broken(void) { return missing; }\n')
    assert "main.c:3:" in clang(amalgamate(main)).stderr
    main = write(tmp_path, a_h="\nint broken(void) { return missing; }\n", main_c='int x;\n#include "a.h"\n')
    assert "a.h:2:" in clang(amalgamate(main)).stderr


def test_includes_in_angle_brackets_stay(tmp_path: Path) -> None:
    main = write(tmp_path, main_c="#include <linux/types.h>\n")
    assert "#include <linux/types.h>" in amalgamate(main)


def test_a_missing_header_is_named_with_the_file_that_wants_it(tmp_path: Path) -> None:
    main = write(tmp_path, main_c='#include "gone.h"\n')
    with pytest.raises(BuildError, match=r"gone\.h, included by main\.c"):
        amalgamate(main)


def test_headers_that_include_each_other_are_refused(tmp_path: Path) -> None:
    main = write(tmp_path, a_h='#include "b.h"\n', b_h='#include "a.h"\n', main_c='#include "a.h"\n')
    with pytest.raises(BuildError, match=r"a\.h includes itself: main\.c -> a\.h -> b\.h -> a\.h"):
        amalgamate(main)


def test_the_firewall_becomes_one_text() -> None:
    text = amalgamate(source_dir() / "firewall.c")
    assert '#include "' not in text
    assert "tc_ingress" in text
