"""A real Prometheus on loopback."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

PATIENCE = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class Prometheus:
    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of a response. Fails the test with Prometheus's error message."""
        question = urllib.parse.urlencode({name.rstrip("_"): value for name, value in parameters.items()})
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{question}", timeout=PATIENCE) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{parameters}: {json.load(error)['error']}")

    def instant(self, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("query", query=query)["result"]
        return found

    def range(self, query: str, start: float, end: float) -> list[dict[str, Any]]:
        data = self.ask("query_range", query=query, start=str(start), end=str(end), step="5")
        found: list[dict[str, Any]] = data["result"]
        return found

    def label_values(self, label: str, selector: str) -> list[str]:
        found: list[str] = self.ask(f"label/{label}/values", **{"match[]": selector})
        return found

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=PATIENCE) as response:
                return bool(response.status == 200)
        except OSError:
            return False


@contextmanager
def prometheus(folder: Path, config: Mapping[str, Any]) -> Iterator[Prometheus]:
    """Run Prometheus with this configuration, and stop it on exit."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (Debian: apt install prometheus)")
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(dict(config)))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    arguments = [f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"]
    arguments.append(f"--web.listen-address={address}")
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([program, *arguments], stdout=log, stderr=log)
    try:
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        process.wait(PATIENCE)
