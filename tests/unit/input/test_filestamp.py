"""exporter/input/filestamp.py: which changes of a file are seen."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.input.filestamp import stamp


def replace(file: Path) -> None:
    """Another file of the same size under the same name."""
    fresh = file.with_suffix(".new")
    fresh.write_text("before")
    fresh.replace(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.write_text("after!"),
        lambda file: file.write_text("longer than before"),
        lambda file: file.chmod(0o600),
        replace,
        Path.unlink,
    ],
    ids=["content", "size", "permissions", "replaced", "removed"],
)
def test_every_change_gives_another_stamp(tmp_path: Path, change: Callable[[Path], object]) -> None:
    """Content, size, permissions and identity of a file are in its stamp, also through a symlink."""
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("before")
    os.utime(file, ns=(0, 0))
    link.symlink_to(file)
    before = stamp(file)
    assert before == stamp(file) == stamp(link)
    change(file)
    assert stamp(file) != before
    assert stamp(file) == stamp(link)


def test_a_file_that_cannot_be_looked_at_has_an_empty_stamp(tmp_path: Path) -> None:
    """A missing file and a dangling symlink have the stamp ()."""
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    assert stamp(tmp_path / "nothing") == stamp(tmp_path / "dangling") == ()
