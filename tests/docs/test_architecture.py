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
                found |= {".".join(inner)} if inner else {alias.name for alias in node.names}
    return found - {"__version__"}


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


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_what_the_table_says(path: Path) -> None:
    """Data flows one way: each module has a row, and imports nothing that its row does not name."""
    name = str(path.relative_to(PACKAGE).with_suffix(""))
    matching = [allowed for pattern, allowed in rows() if fnmatchcase(name, pattern)]
    assert matching, f"docs/architecture.md has no row for {name}"
    if "everything above" in matching[0]:
        return
    group = name.partition("/")[0] if "/" in name else None
    for module in imports(path):
        top = module.partition(".")[0]
        assert top in matching[0] | {group}, f"{name} imports {module}"


def test_every_dependency_is_justified() -> None:
    """Each library of pyproject.toml has its line in the table of libraries."""
    names = re.findall(r'^    "([A-Za-z0-9-]+)>=', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    table = DOCUMENT.partition("## Libraries")[2].lower()
    missing = {name.lower() for name in names} - {"types-pyyaml", "asyncpg-stubs", "setuptools"}
    assert not {name for name in missing if name not in table}
