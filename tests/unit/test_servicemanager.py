"""exporter/servicemanager.py, with a datagram socket in the place of systemd's."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest

from exporter.servicemanager import notify

LOG = logging.getLogger("test")


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_a_state_is_one_datagram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    """The service manager gets the state and the time, at a path or an abstract address (unix(7))."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{path}" if abstract else path)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{path}" if abstract else path)
        notify("READY=1", LOG)
        state, stamp = manager.recv(200).decode().split("\n")
    assert state == "READY=1"
    assert stamp.startswith("MONOTONIC_USEC=")


def test_without_a_service_manager_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without NOTIFY_SOCKET there is neither an error nor a log line."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1", LOG)
    assert caplog.records == []


def test_a_service_manager_that_is_gone_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An address without a listener is a warning that names it."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify("STOPPING=1", LOG)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"{tmp_path}/nobody: No such file" in caplog.text
