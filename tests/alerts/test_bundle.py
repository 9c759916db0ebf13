"""`argus-wg bundle DIR`: the files it writes, the files it keeps, and the durations it divides."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from exporter import cli
from exporter.bundle import OWN, RUNBOOKS, hurried, shipped
from tests.alerts.kit import ALERTS, ROOT, amtool, promtool
from tests.kit.pages import PAGES, fenced


def bundle(directory: Path, *options: str) -> None:
    assert cli.main(["bundle", str(directory), *options]) == 0


def test_everything_but_the_tests_is_shipped() -> None:
    """The bundle has every file of alerts/ except promtool's tests, the dashboards and their provisioning."""
    there = {str(path.relative_to(ALERTS)) for path in ALERTS.rglob("*") if path.is_file()}
    alerts = {name for name in there if not name.startswith("tests/")}
    folders = (ROOT / "dashboards/json", ROOT / "dashboards/provisioning")
    there = {
        str(path.relative_to(ROOT)) for folder in folders for path in folder.rglob("*") if path.is_file()
    }
    assert set(shipped()) == alerts | there
    assert set(shipped()) >= OWN


def test_files_are_written_unchanged(tmp_path: Path) -> None:
    """Without options each file is written unchanged, and promtool and amtool accept the configuration."""
    bundle(tmp_path / "new" / "folder")
    for name, source in shipped().items():
        assert (tmp_path / "new/folder" / name).read_bytes() == source.read_bytes()
    promtool("check", "config", tmp_path / "new/folder/prometheus.yml")
    amtool("check-config", tmp_path / "new/folder/alertmanager.yml")


def test_files_of_the_site_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second run updates rules, keeps thresholds, receivers and targets, and prints which files it kept."""
    bundle(tmp_path)
    capsys.readouterr()
    for name in shipped():
        (tmp_path / name).write_text("changed\n")
    bundle(tmp_path)
    kept = {name for name in shipped() if (tmp_path / name).read_text() == "changed\n"}
    assert kept == OWN
    lines = capsys.readouterr().out.splitlines()
    said = {path: word for word, _, path in (line.rpartition(" ") for line in lines)}
    assert {name for name in shipped() if said[str(tmp_path / name)].startswith("kept")} == OWN


def test_runbook_address_is_set(tmp_path: Path) -> None:
    """With --runbooks every alert links to that address, and no placeholder is left."""
    bundle(tmp_path, "--runbooks", "https://wiki.example.org/wg/")
    for file in tmp_path.glob("rules/*.yml"):
        text = file.read_text()
        assert RUNBOOKS not in text
        assert len(re.findall("alert:", text)) == text.count("https://wiki.example.org/wg/WireGuard")


def test_a_rehearsal_loads(tmp_path: Path) -> None:
    """With --rehearse all durations are divided, and promtool and amtool accept the result."""
    bundle(tmp_path, "--rehearse", "30")
    promtool("check", "config", tmp_path / "prometheus.yml")
    amtool("check-config", tmp_path / "alertmanager.yml")
    stale = (tmp_path / "rules/peers.yml").read_text() + (tmp_path / "rules/recording.yml").read_text()
    assert "offset 10s" in stale
    assert "[6s]" in stale
    assert not re.search(r"(for|interval|_wait): \d+[mhd]\b|\[\d+[mhdw]", stale)


def test_the_documented_scrape_loads(tmp_path: Path) -> None:
    """promtool accepts the documented example with HTTP service discovery, TLS and a password."""
    (example,) = fenced(PAGES["docs/alerting.md"], "yaml")
    secret = tmp_path / "secret"
    secret.touch()
    file = tmp_path / "prometheus.yml"
    file.write_text(re.sub(r"/etc/prometheus/[\w.-]+", str(secret), example))
    (tmp_path / "gateways").mkdir()
    promtool("check", "config", file)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("for: 5m", "for: 10s"),
        ("[13d:1d] offset 1w", "[37440s:2880s] offset 20160s"),
        ("group_wait: 10s", "group_wait: 333ms"),
        (
            "peer_direction:wireguard_bytes:rate5m + increase1d",
            "peer_direction:wireguard_bytes:rate5m + increase1d",
        ),
        ("in 15 minutes", "in 15 minutes"),
        ("2^30 > 86400", "2^30 > 86400"),
    ],
)
def test_durations_are_divided(text: str, expected: str) -> None:
    """Durations are divided; names, numbers and text are unchanged."""
    assert hurried(text, 30) == expected


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "many", "61"])
def test_a_wrong_divisor_is_refused(number: str, tmp_path: Path) -> None:
    """An invalid divisor is a usage error, and nothing is written."""
    with pytest.raises(SystemExit) as refused:
        cli.main(["bundle", str(tmp_path / "b"), "--rehearse", number])
    assert refused.value.code == 2
    assert not (tmp_path / "b").exists()


def test_an_impossible_directory_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If the directory is a file, the command prints one line on standard error and exits with 1."""
    (tmp_path / "file").touch()
    assert cli.main(["bundle", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith(f"argus-wg: {tmp_path / 'file'}")
