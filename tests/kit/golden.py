"""Golden files: the expected output of the program, byte for byte, in tests/golden.

`UPDATE_GOLDEN=1 pytest` replaces them with the present output; review the diff.
"""

from __future__ import annotations

import difflib
import os

import pytest

from tests.kit.paths import TESTS

DIRECTORY = TESTS / "golden"


def check(name: str, text: bytes) -> None:
    """Fails with a diff if `tests/golden/<name>` differs from `text`; with UPDATE_GOLDEN, writes the file."""
    path = DIRECTORY / name
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
        return
    if not path.exists():
        pytest.fail(f"{path} does not exist; run with UPDATE_GOLDEN=1 to write it, and review it")
    expected = path.read_bytes()
    if text != expected:
        diff = difflib.unified_diff(_lines(expected), _lines(text), str(path), "rendered", lineterm="")
        pytest.fail("\n".join(diff) + "\nIf this is what it should be: UPDATE_GOLDEN=1", pytrace=False)


def _lines(text: bytes) -> list[str]:
    return [repr(line)[2:-1] for line in text.splitlines(keepends=True)]
