"""The configuration: defaults, every key, and one bad file for each mistake."""

from __future__ import annotations

import dataclasses
import re
import socket
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter import config
from exporter.config import Config, InterfaceSettings
from exporter.errors import InputError
from exporter.input.listenaddress import ListenAddress
from tests.kit.paths import PROJECT, TESTDATA

ROOT = PROJECT
BAD = sorted((TESTDATA / "config").glob("*.bad.yml"))
EXAMPLE = ROOT / "deploy" / "argus-wg.yml"


def load(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "argus-wg.yml"
    file.write_text(text)
    return config.load(file)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.name.partition(".")[0])
def test_bad_file(path: Path) -> None:
    """Each bad file gives the error that its first line announces."""
    expected = path.read_text().partition("\n")[0].removeprefix("# ")
    with pytest.raises(InputError) as error:
        config.load(path)
    assert str(error.value).startswith(f"{path}:{expected}")


def test_no_file_is_needed(tmp_path: Path) -> None:
    """Without a file, and with an empty one, everything has its default."""
    assert config.load(None) == load(tmp_path, "") == Config()
    assert Config().gateway == socket.gethostname()
    assert Config().listen == (ListenAddress("127.0.0.1", 9586),)


def test_missing_file(tmp_path: Path) -> None:
    """A missing file is an error."""
    with pytest.raises(InputError, match="no such file"):
        config.load(tmp_path / "missing.yml")


def test_example_is_the_default() -> None:
    """The values in the example are the defaults."""
    assert config.load(EXAMPLE) == Config()


def test_example_has_every_key() -> None:
    """The example has every key; keys without a default value are in comments."""
    text = re.sub(r"^( *)# (\w+: \S+)$", r"\1\2", EXAMPLE.read_text(), flags=re.MULTILINE)

    def dotted(tree: dict[str, object]) -> list[str]:
        found = []
        for key, value in tree.items():
            nested = dotted(value) if isinstance(value, dict) else []
            found += [f"{key}.{name}" for name in nested] or [key]
        return found

    assert sorted(dotted(yaml.safe_load(text))) == sorted(config.keys())


def test_every_key_is_documented() -> None:
    """The docstring of a class names each of its keys."""
    undocumented = []

    def look(record: object) -> None:
        assert dataclasses.is_dataclass(record)
        for field in dataclasses.fields(record):
            if f"`{field.name}`" not in (type(record).__doc__ or ""):
                undocumented.append(f"{type(record).__name__}.{field.name}")
            if dataclasses.is_dataclass(value := getattr(record, field.name)):
                look(value)

    look(Config())
    assert undocumented == []


def test_every_key_is_read(tmp_path: Path) -> None:
    """Each key reaches its field; relative paths start at the file."""
    loaded = load(
        tmp_path,
        """
        gateway: gw1
        organisation: acme
        listen: [0.0.0.0:80, "[::1]:9586", localhost:0]
        web_config: web.yml
        allow_unauthenticated: true
        metrics: {schema: mindflavor, mindflavor: {handshake_delay: true, remote_ip: true}}
        interfaces: {include: [wg*, blue/*], exclude: wg9}
        namespaces: [blue, green]
        sources: {netlink: false, uapi: true, uapi_directory: socks, timeout: 250ms, dump_retries: 0}
        directory: {files: [a.yml, /b.yml], wg_quick: [c/*.conf], email_names: true, reload_every: 1m}
        limits: {request_timeout: 10, max_concurrent: 2}
        log: {level: debug, format: json}
        """,
    )
    assert loaded == Config(
        gateway="gw1",
        organisation="acme",
        listen=(ListenAddress("0.0.0.0", 80), ListenAddress("::1", 9586), ListenAddress("localhost", 0)),
        web_config=tmp_path / "web.yml",
        allow_unauthenticated=True,
        metrics=config.MetricsSettings("mindflavor", config.MindFlavorSettings(True, True)),
        interfaces=InterfaceSettings(("wg*", "blue/*"), ("wg9",)),
        namespaces=("blue", "green"),
        sources=config.SourceSettings(False, True, tmp_path / "socks", 0.25, 0),
        directory=config.DirectorySettings(
            (tmp_path / "a.yml", Path("/b.yml")), (f"{tmp_path}/c/*.conf",), True, 60
        ),
        limits=config.LimitSettings(10, 2),
        log=config.LogSettings("debug", "json"),
    )


def test_all_namespaces(tmp_path: Path) -> None:
    """`all` is not the name of a namespace."""
    loaded = load(tmp_path, "namespaces: all")
    assert (loaded.all_namespaces, loaded.namespaces) == (True, ())


def test_no_wg_quick_files(tmp_path: Path) -> None:
    """An empty list turns wg-quick files off."""
    assert load(tmp_path, "directory: {wg_quick: []}").directory.wg_quick == ()


@pytest.mark.parametrize(
    "address", ["0.0.0.0:1", '"[::]:1"', "192.0.2.1:1", "example.org:1", '"[::ffff:127.0.0.1]:1"']
)
def test_beyond_loopback_needs_protection(tmp_path: Path, address: str) -> None:
    """An address beyond loopback needs web_config or allow_unauthenticated."""
    with pytest.raises(InputError, match="allow_unauthenticated: true"):
        load(tmp_path, f"listen: {address}")
    assert load(tmp_path, f"listen: {address}\nweb_config: web.yml").web_config
    assert load(tmp_path, f"listen: {address}\nallow_unauthenticated: true").listen


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.9.9.9:1", '"[::1]:1"', "localhost:1"])
def test_loopback_needs_no_protection(tmp_path: Path, address: str) -> None:
    """Loopback addresses need no protection."""
    assert load(tmp_path, f"listen: {address}").listen[0].loopback


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str), st.integers(0, 65535))
def test_addresses_are_written_as_they_are_read(
    tmp_path_factory: pytest.TempPathFactory, host: str, port: int
) -> None:
    """The text of an address is read as the same address."""
    address = ListenAddress(host, port)
    text = f'listen: "{address}"\nallow_unauthenticated: true'
    assert load(tmp_path_factory.getbasetemp(), text).listen == (address,)


@pytest.mark.parametrize(
    ("label", "wanted"),
    [("wg0", True), ("wg9", False), ("blue/wg0", True), ("blue/wg9", True), ("tun0", False)],
)
def test_interfaces_by_pattern(label: str, wanted: bool) -> None:
    """An interface is read when a pattern includes its label and none excludes it."""
    assert InterfaceSettings(("wg*", "blue/*"), ("wg9",)).wanted(label) is wanted


def test_every_interface_by_default() -> None:
    """The default pattern also matches interfaces of other namespaces."""
    assert InterfaceSettings().wanted("wg0")
    assert InterfaceSettings().wanted("blue/wg0")


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("recording:\n  keep_raw: 30d\n  keep_history: 7d\n", 3, "shorter than keep_raw"),
        ("recording: {interval: 10ms}\n", 1, "between 1 and 300"),
        ("database:\n  certificate_file: a.pem\n", 1, "go together"),
        ("database: {tls: yes}\n", 1, "tls"),
    ],
)
def test_mistakes_in_recording(tmp_path: Path, text: str, line: int, problem: str) -> None:
    """Wrong values about the records are errors with their line."""
    file = tmp_path / "argus-wg.yml"
    file.write_text(text)
    with pytest.raises(InputError, match=re.escape(problem)) as caught:
        config.load(file)
    assert caught.value.line == line
