"""docs/security.md and deploy/web-config.yml agree with the code."""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
import sys
from pathlib import Path

import bcrypt
import pytest
import yaml

from exporter.config import Config
from exporter.daemon import GRACE
from exporter.errors import InputError
from exporter.metrics.declarations import exporter as own_metrics
from exporter.web.configuration import webconfig
from exporter.web.connections.connection import MAX_HEADERS
from exporter.web.limits.connectionlimits import ConnectionLimits
from exporter.web.logins import basicauth, bcrypthash
from exporter.web.tls import parameters as tls
from tests.kit.paths import PROJECT
from tests.kit.web import make_pair, serving

ROOT = PROJECT
DOC = (ROOT / "docs/security.md").read_text()
EXAMPLE = ROOT / "deploy/web-config.yml"


def table(heading: str) -> list[list[str]]:
    """The rows of the first table whose first column has this heading."""
    _, _, after = DOC.partition(f"| {heading} |")
    rows = after.split("\n\n")[0].splitlines()[2:]
    assert rows, heading
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", DOC, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with certificates under the names that the page and the example use."""
    authority = make_pair(tmp_path, "clients-ca")
    make_pair(tmp_path, "server", authority)
    return tmp_path


def known_keys(folder: Path, section: str) -> set[str]:
    """The keys of a section, from the error for an unknown key."""
    lines = (
        f"  cert_file: a\n  key_file: b\n  client_auth_type: {tls.NO_CERT}\n"
        if section.startswith("tls")
        else ""
    )
    path = folder / "probe.yml"
    path.write_text(f"{section}:\n{lines}  0123456789: x\n")
    with pytest.raises(InputError) as raised:
        webconfig.parse(path)
    return set(raised.value.remedy.partition("known keys: ")[2].split(", "))


def test_the_table_of_keys_is_complete(folder: Path) -> None:
    """The table has exactly the keys that a web configuration file may have."""
    listed = {key.strip("`") for row in table("key") for key in row[0].split(", ")}
    assert listed == known_keys(folder, "tls_server_config") | {
        "http2",
        "headers",
        "basic_auth_users",
        "rate_limit",
    }
    assert known_keys(folder, "http_server_config") == {"http2", "headers"}
    assert known_keys(folder, "rate_limit") == {"interval", "burst"}


def test_the_table_names_every_value() -> None:
    """Types, versions, curves and headers in the table are those of the code."""
    rows = {key: row[1] for row in table("key") for key in row[0].split(", ")}

    def values(key: str) -> set[str]:
        return set(re.findall("`([^`]+)`", rows[f"`{key}`"]))

    assert values("client_auth_type") == {tls.NO_CERT, tls.IF_GIVEN, tls.REQUIRED, *tls.UNVERIFIED}
    assert values("min_version") == {*tls.VERSIONS, *tls.BROKEN_VERSIONS}
    assert values("curve_preferences") == set(tls.CURVES)
    assert values("headers") == set(webconfig.HEADERS)
    assert rows["`basic_auth_users`"].endswith(f"up to {bcrypthash.MAX_COST}")


def test_the_example_shows_every_key_and_is_valid(folder: Path) -> None:
    """deploy/web-config.yml is valid, has every key, and its user has none of the obvious passwords."""
    (folder / "web.yml").write_text(EXAMPLE.read_text())
    assert webconfig.load(folder / "web.yml").notes == ()
    written = yaml.safe_load(EXAMPLE.read_text())
    inline = {"cert", "key", "client_ca"}
    assert set(written["tls_server_config"]) == known_keys(folder, "tls_server_config") - inline
    assert all(f"`{key}`" in EXAMPLE.read_text() for key in inline)
    assert set(written["http_server_config"]["headers"]) == set(webconfig.HEADERS)
    assert {*written} == {"tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"}
    for guess in (b"", b"prometheus", b"change me", b"password", b"secret"):
        assert not bcrypt.checkpw(guess, written["basic_auth_users"]["prometheus"].encode())


def test_the_blocks_of_yaml_are_valid(folder: Path) -> None:
    """Each block of YAML is a valid web configuration."""
    found = blocks("yaml")
    assert len(found) == 2
    for text in found:
        (folder / "web.yml").write_text(text)
        webconfig.load(folder / "web.yml")


def test_the_command_that_hashes_a_password_works() -> None:
    """The line of Python in the page reads a password and prints its bcrypt hash."""
    line = next(text for text in blocks("sh") if "bcrypt" in text)
    program, *arguments = shlex.split(line)
    assert program == "python3"
    arguments[1] = "import warnings; warnings.simplefilter('ignore'); " + arguments[1]
    done = subprocess.run(
        [sys.executable, *arguments],
        input="correct horse\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        start_new_session=True,  # without a terminal, so that getpass reads its standard input
    )
    printed = done.stdout.strip().rpartition(" ")[2]
    assert bcrypthash.hash_cost(printed.encode()) == 10
    assert bcrypt.checkpw(b"correct horse", printed.encode())


def test_the_limits_are_those_of_the_code() -> None:
    """Each number of the table is the default in the code."""
    limits = ConnectionLimits()
    daemon = Config().limits
    assert limits.write_seconds == daemon.request_timeout
    assert [float(row[1]) for row in table("limit")] == [
        limits.connections,
        daemon.max_concurrent,
        daemon.request_timeout,
        limits.write_seconds,
        limits.head_seconds,
        limits.keepalive_seconds,
        limits.head_bytes,
        MAX_HEADERS,
        GRACE,
    ]
    assert (
        f"at\nmost {basicauth.WAITING} wait for it" in DOC or f"most {basicauth.WAITING} wait for it" in DOC
    )


def test_the_metrics_it_names_exist() -> None:
    """The exporter has every metric that the page names."""
    named = set(re.findall("wireguard_exporter_[a-z_]+", DOC))
    source = Path(own_metrics.__file__).read_text()
    assert named
    assert [name for name in named if f'"{name}"' not in source] == []


def test_the_paths_are_those_of_the_server() -> None:
    """The table has four paths, and each answers 200."""
    paths = [row[0].strip("`") for row in table("path")]
    with serving() as running:
        assert [running.get(path)[0].status for path in paths] == [200] * 4


@pytest.mark.parametrize("link", re.findall(r"\]\((\.\./[^)]+)\)", DOC))
def test_the_linked_files_exist(link: str) -> None:
    """Every linked file of the repository exists."""
    assert (ROOT / "docs" / link).exists()


def test_the_default_is_loopback(tmp_path: Path) -> None:
    """Without a configuration, the server listens on loopback only, and does not allow more."""
    assert [str(address) for address in Config().listen] == ["127.0.0.1:9586"]
    assert all(address.loopback for address in Config().listen)
    assert not Config().allow_unauthenticated
    assert {field.name for field in dataclasses.fields(Config)} >= {"web_config", "allow_unauthenticated"}
