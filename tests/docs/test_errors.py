"""The tree in the docstring of exporter/errors.py has one row for each class of error."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import exporter
from exporter import errors

ROW = re.compile(r"^((?:[│├└][ ─]*| {4})*)(\w+) {2,}\S.*?(?: \(([\w/]+\.py)\))?$", re.MULTILINE)


def drawn(text: str) -> list[tuple[str, ...]]:
    """For each row of a tree: the names from the root to the row, and the module that the row names or ""."""
    path: list[str] = []
    found = []
    for indent, name, module in ROW.findall(text):
        path[len(indent) // 4 :] = [name]
        found.append((*path, module))
    return found


def raised(root: type[Exception]) -> Iterator[tuple[str, ...]]:
    """For each class of the package, as in `drawn`; the module is "" if it is that of the parent class."""
    yield (root.__name__, "")
    for child in root.__subclasses__():
        if child.__module__.startswith("exporter."):
            inside = child.__module__ == root.__module__
            module = "" if inside else child.__module__.removeprefix("exporter.").replace(".", "/") + ".py"
            for *path, other in raised(child):
                yield (root.__name__, *path, other if len(path) > 1 else module)


def test_the_tree_has_one_row_for_each_error() -> None:
    """Each subclass of ArgusError has exactly one row, below its parent class, with the module it is in."""
    for module in pkgutil.walk_packages(exporter.__path__, "exporter."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    assert sorted(drawn(errors.__doc__ or "")) == sorted(raised(errors.ArgusError))


def test_a_wrong_tree_is_noticed() -> None:
    """A row on another level, a row that is there twice and another module are different trees."""
    tree = "A            x\n├── B        x (b.py)\n│   └── C    x\n└── D        x\n"
    assert drawn(tree) == [("A", ""), ("A", "B", "b.py"), ("A", "B", "C", ""), ("A", "D", "")]
    assert drawn(tree.replace("│   └── C", "├── C    ")) != drawn(tree)
    assert len(drawn(tree + "└── D        x\n")) == 5
