"""The tree as a clone has it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.kit.paths import PROJECT

GENERATED = ("__pycache__", ".*", "*.egg-info", "build", "dist")


def clone(folder: Path) -> Path:
    """Copies the tree into `folder`, without what git ignores, and returns `folder`."""
    ignored = shutil.ignore_patterns(*GENERATED)
    shutil.copytree(PROJECT, folder, symlinks=True, dirs_exist_ok=True, ignore=ignored)
    shutil.copy(PROJECT / ".gitignore", folder)
    return folder


def files(folder: Path) -> set[str]:
    """Every file below `folder`, relative to it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
