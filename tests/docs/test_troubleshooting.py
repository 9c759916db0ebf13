"""docs/troubleshooting.md, docs/glossary.md and docs/threat-model.md agree with the code."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from exporter.directory.entry import Criticality
from exporter.errors import ReadError
from exporter.liveness import Expected, State
from exporter.store.errors import StoreError
from tests.kit.pages import PAGES, names, rows
from tests.kit.paths import PROJECT

TROUBLESHOOTING = PAGES["docs/troubleshooting.md"]
GLOSSARY = PAGES["docs/glossary.md"]
CODE = "\n".join(path.read_text() for path in sorted((PROJECT / "exporter").rglob("*.py")))


def reasons(root: type[ReadError] | type[StoreError]) -> set[str]:
    """Every reason of a part of the error tree."""
    return {root.reason}.union(*(reasons(kind) for kind in root.__subclasses__()))


def test_metrics_that_the_page_names_exist() -> None:
    """The exporter declares every metric in the tables of symptoms."""
    for name in set(re.findall(r"wireguard_\w+", TROUBLESHOOTING)):
        assert f'"{name}"' in CODE, name


def test_reasons_that_the_page_names_exist() -> None:
    """Every reason in the tables of symptoms is one that a metric can have."""
    known = reasons(ReadError) | reasons(StoreError)
    found = set(re.findall(r'reason="([a-z-]+)"', TROUBLESHOOTING))
    assert found
    assert found <= known


@pytest.mark.parametrize("section", ["Nothing is exported", "Snapshots do not arrive", "A peer looks wrong"])
def test_each_symptom_has_a_cause_and_a_command(section: str) -> None:
    """No cell of the table is empty."""
    text = TROUBLESHOOTING.partition(f"## {section}")[2].partition("\n## ")[0]
    for row in rows(text, "symptom"):
        assert len(row) == 3
        assert all(row), row


def test_the_glossary_has_each_word_of_the_code() -> None:
    """States, expectations, criticalities and database roles are explained in the glossary."""
    words = {state.value for state in State} | set(get_args(Expected)) | set(get_args(Criticality))
    words |= {"argus_owner", "argus_collector", "argus_reader"}
    assert words <= set(names(GLOSSARY))


def test_the_glossary_explains_each_word_once() -> None:
    """No word has two rows, and each row is one sentence without a full stop inside."""
    found = rows(GLOSSARY, "word")
    listed = [word for word, _ in found]
    assert len(set(listed)) == len(listed)
    for word, meaning in found:
        assert ". " not in meaning, word


def test_tests_that_the_threat_model_names_exist() -> None:
    """Every protection names tests, and each of these files exists."""
    table = (
        PAGES["docs/threat-model.md"].partition("| threat | protection | tests |")[2].partition("\n## ")[0]
    )
    lines = [line for line in table.splitlines() if line.startswith("| ") and "---" not in line]
    assert lines
    for line in lines:
        found = re.findall(r"tests/[\w./]+\w", line)
        assert found, line
        assert all((PROJECT / name).exists() for name in found), line
