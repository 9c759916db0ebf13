"""The shipped rules, parsed for the tests, and the programs promtool and amtool."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from tests.kit.paths import PROJECT

ROOT = PROJECT
ALERTS = ROOT / "alerts"
RULE_FILES = sorted(ALERTS.glob("rules/*.yml"))
TEST_FILES = sorted(ALERTS.glob("tests/*.yml"))
PATIENCE = 300.0  # seconds; promtool is slow on two weeks of history


@dataclass(frozen=True)
class Rule:
    file: str
    name: str  # of the alert or of the recorded series
    expr: str
    alert: bool
    wait: str = ""  # its `for`
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    def nodes(self) -> Iterator[Any]:
        """Each node of the parsed expression."""
        return walk(promql_parser.parse(self.expr))

    def selectors(self) -> set[str]:
        """The names of the metrics that the expression reads."""
        return {str(node.name) for node in self.nodes() if isinstance(node, promql_parser.VectorSelector)}


def walk(node: Any) -> Iterator[Any]:
    yield node
    for part in ("lhs", "rhs", "expr", "param", "args", "vector_selector"):
        below = getattr(node, part, None)
        for one in below if isinstance(below, list) else [below] if below else []:
            yield from walk(one)


def rules() -> list[Rule]:
    return [
        Rule(
            file.name,
            rule.get("alert") or rule["record"],
            rule["expr"],
            "alert" in rule,
            rule.get("for", ""),
            rule.get("labels", {}),
            rule.get("annotations", {}),
        )
        for file in RULE_FILES
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]


RULES = rules()
ALERT_RULES = [rule for rule in RULES if rule.alert]
RECORDED = {rule.name for rule in RULES if not rule.alert}


def program(name: str, package: str) -> str:
    """The path of a program. Skips the test if it is not installed."""
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed (Debian: apt install {package})")
    return found


def amtool(*arguments: str | Path) -> str:
    """Run amtool, which must succeed. Returns its standard output."""
    command = [program("amtool", "prometheus-alertmanager"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def promtool(*arguments: str | Path) -> None:
    """Run promtool, which must succeed."""
    run(program("promtool", "prometheus"), *arguments)


def run(*command: str | Path) -> None:
    """Run a command, which must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def promtool_3() -> str:
    """The path of a promtool 3, on PATH or in the folder of Go's programs. Skips the test without one."""
    folders = [
        os.environ.get("GOBIN", ""),
        str(Path.home() / "go/bin"),
        *os.environ["PATH"].split(os.pathsep),
    ]
    for folder in folders:
        path = Path(folder) / "promtool"
        if folder and path.is_file() and _major(path) == 3:
            return str(path)
    pytest.skip("no promtool 3 (tests/install-promtool-3 builds one)")


def _major(path: Path) -> int:
    """The major version; one that was built without a version is of the newest kind."""
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    found = re.search(r"version (\d+)", done.stdout + done.stderr)
    return int(found[1]) if found else 3
