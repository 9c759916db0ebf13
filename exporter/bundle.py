"""The bundle: alerting rules, the configuration of Alertmanager, runbooks and dashboards in one directory.

Files that an operator edits (thresholds, receivers, targets, data sources) are written once and then kept.
All others are updated. A file is replaced as a whole, so a program that reads it gets the old or the new one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from exporter.errors import ArgusError

SHARE = Path(__file__).parent / "share"
ALERTS = ("rules/*.yml", "templates/*.tmpl", "runbooks/*.md", "gateways/*.yml", "*.yml")
DASHBOARDS = ("dashboards/json/*.json", "dashboards/provisioning/*.sql", "dashboards/provisioning/*/*.yml")
OWN = frozenset(
    {
        "rules/thresholds.yml",
        "gateways/gateways.yml",
        "alertmanager.yml",
        "prometheus.yml",
        "dashboards/provisioning/dashboards/argus-wireguard.yml",
        "dashboards/provisioning/datasources/argus-wireguard.yml",
    }
)
RUNBOOKS = "https://argus-wireguard.example/runbooks"  # as the rules have it
DURATION = re.compile(r"(?<![\w.$])(\d+)([smhdw])\b")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class BundleError(ArgusError):
    """A file of the bundle cannot be written."""


def write(directory: Path, runbooks: str = RUNBOOKS, divisor: int = 1) -> Iterator[tuple[str, bool]]:
    """Writes the bundle; yields (name of a file, whether it was kept because an operator edits it).

    `runbooks` is the address that alerts link to; `divisor` divides durations. Raises `BundleError`.
    """
    for name, source in shipped().items():
        target = directory / name
        kept = name in OWN and target.exists()
        if not kept:
            text = source.read_text().replace(RUNBOOKS, runbooks)
            _replace(target, hurried(text, divisor) if name.endswith(".yml") else text)
        yield name, kept


def shipped() -> dict[str, Path]:
    """Name in the bundle → file of this package."""
    return {
        str(path.relative_to(base)): path
        for base, parts in ((SHARE / "alerts", ALERTS), (SHARE, DASHBOARDS))
        for part in parts
        for path in sorted(base.glob(part))
    }


def hurried(text: str, divisor: int) -> str:
    """The text with every duration divided, in whole seconds or else in milliseconds. Thresholds stay."""

    def divided(match: re.Match[str]) -> str:
        milliseconds = int(match[1]) * SECONDS[match[2]] * 1000 // divisor
        return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"

    return text if divisor == 1 else DURATION.sub(divided, text)


def _replace(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        new.write_text(text)
        new.rename(path)
    except OSError as error:
        raise BundleError(f"{error.filename}: {error.strerror}") from error
