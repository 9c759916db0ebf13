"""The pictures in docs/images are those that the script draws."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.kit.pages import PAGES, ROOT

IMAGES = ROOT / "docs" / "images"


def test_the_pictures_are_those_of_the_script(tmp_path: Path) -> None:
    """The script draws exactly the committed files: none is missing, old or left over."""
    subprocess.run([sys.executable, ROOT / "docs" / "screenshots.py", tmp_path], check=True, timeout=60)
    drawn = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert drawn
    assert drawn == {path.name: path.read_text() for path in IMAGES.iterdir()}, "run `make screenshots`"


def test_pictures_load_nothing() -> None:
    """A picture names no address but that of the SVG format itself, so a viewer loads nothing else."""
    for path in IMAGES.iterdir():
        found = re.findall(r"https?://[^\"')\s]+", path.read_text())
        assert found == ["http://www.w3.org/2000/svg"], path.name


def test_each_picture_is_on_a_page() -> None:
    """Each picture is shown somewhere in the documentation."""
    shown = {target for page in PAGES.values() for target in re.findall(r"!\[[^\]]+\]\((\S+)\)", page)}
    for path in IMAGES.iterdir():
        assert any(target.endswith(f"images/{path.name}") for target in shown), path.name
