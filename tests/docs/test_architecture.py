"""docs/architecture.md and the imports of the package say the same."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.kit.paths import PROJECT

ROOT = PROJECT
PACKAGE = ROOT / "exporter"
DOCUMENT = (ROOT / "docs/architecture.md").read_text()


def imports(path: Path) -> set[str]:
    """The modules of the package that a module imports, dotted, without the package's own name."""
    found = set()
    package = ["exporter", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            if module[:1] == ["exporter"]:
                inner = module[1:]
                found |= {".".join([*inner, *leaf]) for leaf in leaves(inner, node)}
    return found - {"__version__"}


def leaves(package: list[str], node: ast.ImportFrom) -> list[list[str]]:
    """For `from exporter.store import access, x`: [["access"]], the names that are modules; or [[]]."""
    folder = PACKAGE.joinpath(*package)
    names = [[alias.name] for alias in node.names if (folder / alias.name).with_suffix(".py").exists()]
    names += [[alias.name] for alias in node.names if (folder / alias.name).is_dir()]
    return names if folder.is_dir() else [[]]


def rows() -> list[tuple[str, set[str]]]:
    """(pattern of modules, what they may import) for each row of the table of modules."""
    found = []
    for line in DOCUMENT.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 4:
            allowed = set(filter(None, re.split(r",\s*", cells[3])))
            found += [(name, allowed) for name in re.findall(r"`([^`]+)`", cells[0])]
    return found


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
SHARED = {"", "metrics", "store", "web"}  # folders of rooms, not rooms: their modules are not neighbours


def is_in(module: str, room: str) -> bool:
    """Whether a module, `store/spool/queue`, is a room or lies in it, `store/spool`."""
    return module == room or module.startswith(f"{room}/")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_what_the_table_says(path: Path) -> None:
    """Data flows one way: a module imports its own folder and the rooms of its row, and nothing else."""
    name = str(path.relative_to(PACKAGE).with_suffix(""))
    matching = [(pattern, allowed) for pattern, allowed in rows() if fnmatchcase(name, pattern)]
    assert matching, f"docs/architecture.md has no row for {name}"
    rooms = max(matching, key=lambda row: len(row[0]))[1]
    if "everything above" in rooms:
        return
    folder = name.rpartition("/")[0]
    if folder not in SHARED:
        rooms = rooms | {folder}
    for module in imports(path):
        imported = module.replace(".", "/")
        assert any(is_in(imported, room) for room in rooms), f"{name} imports {module}"


def test_each_row_is_of_modules_that_exist() -> None:
    """Each room that the table names, in a row or as an import, exists in the package."""
    names = [str(path.relative_to(PACKAGE).with_suffix("")) for path in MODULES]
    for pattern, allowed in rows():
        assert any(fnmatchcase(name, pattern) for name in names), pattern
        for room in allowed - {"everything above"}:
            assert any(is_in(name, room) for name in names), room


def test_every_dependency_is_justified() -> None:
    """Each library of pyproject.toml has its line in the table of libraries."""
    names = re.findall(r'^    "([A-Za-z0-9-]+)>=', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    table = DOCUMENT.partition("## Libraries")[2].lower()
    missing = {name.lower() for name in names} - {"types-pyyaml", "asyncpg-stubs"}
    assert not {name for name in missing if name not in table}
