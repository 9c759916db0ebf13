"""`argus-wg check`: finds and names everything that would fail, with its remedy."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter import cli, config, errors
from exporter.check import files as checkfiles
from exporter.check import host as checkhost
from exporter.check import listening as checklisten
from exporter.check.finding import Finding
from exporter.check.remedies import remedy_of
from exporter.config import Config, DirectorySettings
from exporter.input.listenaddress import ListenAddress
from exporter.model import Device, Reading, Snapshot
from tests.kit.paths import PROJECT
from tests.kit.privilege import without_privilege
from tests.kit.servers.uapiserver import UapiServer, like_wireguard_go
from tests.kit.show import KEYS, peer_lines, reply, stale_socket

DEPLOY = PROJECT / "deploy"
HASH = "$2b$04$mRRPkCrY79zNm1Fj.FxgseBiOt6G.3jXUPYbLMQPxqOHLvq9E3aBe"  # of "x"
NET_ADMIN = 1 << 12


@pytest.fixture
def gateway(tmp_path: Path) -> Path:
    """A configuration that reads sockets beside the file, and not the kernel."""
    file = tmp_path / "argus-wg.yml"
    file.write_text(
        f"listen: 127.0.0.1:0\nsources: {{netlink: false, uapi_directory: {tmp_path}}}\n"
        f"directory: {{wg_quick: []}}\nstate_directory: {tmp_path}/state\nrecording: {{enabled: false}}\n"
    )
    return file


def check(file: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, str]]]:
    """(exit code, findings by check). Every finding that is not ok has a remedy."""
    code = cli.main(["check", "--json", "--config", str(file)])
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert all(bool(found["remedy"]) == (found["status"] != "ok") for found in findings)
    return code, {found["check"]: found for found in findings}


def add(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


def test_no_interface_is_a_warning(gateway: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A host without interfaces is not a failure: the exit code is 0."""
    code, findings = check(gateway, capsys)
    assert code == 0
    assert {name: found["status"] for name, found in findings.items()} == {
        "configuration": "ok",
        "directory": "ok",
        "capabilities": "ok",
        "UAPI directory": "ok",
        "interfaces": "warning",
        "listen 127.0.0.1:0": "ok",
        "authentication": "ok",
        "database": "ok",
    }


def test_the_report_has_a_line_for_each_finding(gateway: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Piped, each finding is a line of plain text, with its remedy on the next; a summary is last."""
    assert cli.main(["check", "-c", str(gateway)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"ok       configuration: {gateway} is valid"
    warning = lines.index("warning  interfaces: there is no WireGuard interface to read")
    assert lines[warning + 1].startswith("         fix: run `wg-quick up NAME`")
    assert lines[-1].startswith("7 ok, 1 warning (as ")


def test_a_readable_interface_is_well(gateway: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An interface that answers is ok, with its number of peers."""
    text = reply(peer_lines(KEYS[0]), peer_lines(KEYS[1]))
    with UapiServer(gateway.with_name("wg0.sock"), like_wireguard_go(text)):
        code, findings = check(gateway, capsys)
    assert code == 0
    assert findings["interface wg0"]["status"] == "ok"
    assert findings["interface wg0"]["message"].endswith("ms: 2 peers")


def test_a_stale_socket_is_named_and_left(gateway: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A socket without a process fails, with the command that removes it; the check does not remove it."""
    path = gateway.with_name("wg9.sock")
    stale_socket(path)
    code, findings = check(gateway, capsys)
    assert code == 1
    assert findings["interface wg9"]["message"].startswith("stale-socket: nothing listens on ")
    assert f"`rm {path}`" in findings["interface wg9"]["remedy"]
    assert path.is_socket()


def test_every_mistake_of_the_configuration_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All mistakes are reported at once, each with its line, and the exit code is 2."""
    file = tmp_path / "argus-wg.yml"
    file.write_text(
        "gateway: ''\n"
        "lisen: 127.0.0.1:9586\n"
        "sources:\n"
        "  # a remark\n"
        "  timeout: soon\n"
        "  dump_retry: 3\n"
        "interfaces:\n"
        "  include:\n"
        "  - wg0\n"
        "  - [wg1]\n"
        "log: {level: loud}\n"
    )
    assert cli.main(["check", "--json", "-c", str(file)]) == 2
    findings = json.loads(capsys.readouterr().out)["findings"]
    remedies = {found["remedy"] for found in findings}
    assert {found["check"] for found in findings} == {"configuration"}
    assert remedies == {
        f"correct {file}:1 (gateway)",
        f"correct {file}:2 (lisen)",
        f"correct {file}:5 (sources.timeout)",
        f"correct {file}:6 (sources.dump_retry)",
        f"correct {file}:10 (interfaces.include)",
        f"correct {file}:11 (log.level)",
    }


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("web_config: [a]\nlisten: 0.0.0.0:9586\n", ["web_config"]),
        ("listen: [\n127.0.0.1:x,\n]\nlog: {level: info}\n", ["listen"]),
        ("gateway: a\ngateway: b\nlog: {levl: info}\n", ["gateway", "log.levl"]),
        ("a: [\n", [""]),
        ("", []),
    ],
)
def test_no_mistake_is_invented(tmp_path: Path, text: str, mistakes: list[str]) -> None:
    """Of a file with several mistakes, exactly these mistakes are reported."""
    file = tmp_path / "argus-wg.yml"
    file.write_text(text)
    assert [mistake.field for mistake in checkfiles.config_mistakes(file)] == mistakes


def test_the_example_configuration_is_valid() -> None:
    """The example configuration has no mistake."""
    assert checkfiles.config_mistakes(DEPLOY / "argus-wg.yml") == []


def test_a_missing_configuration_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that does not exist gives exit code 2 and a remedy."""
    code, findings = check(tmp_path / "none.yml", capsys)
    assert code == 2
    assert findings["configuration"]["remedy"] == f"create {tmp_path}/none.yml, or correct its name"


def test_directory_files_are_read_one_by_one(gateway: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong file fails with file, line and field, and the other files are still checked."""
    gateway.with_name("good.yml").write_text("peers: {}\n")
    gateway.with_name("bad.yml").write_text("peers:\n  not-a-key: {name: x}\n")
    gateway.write_text(gateway.read_text().replace("{wg_quick: []}", "{files: [good.yml, bad.yml]}"))
    findings = list(checkfiles.directory(config.load(gateway).directory))
    bad = next(found for found in findings if found.status == "failed")
    assert f"{gateway.with_name('bad.yml')}:2: peers.not-a-key: " in bad.message
    assert [found.status for found in findings if "good.yml" in found.message] == ["ok"]


def test_overlapping_directory_files_fail_together(gateway: Path) -> None:
    """Two files that are each valid but contain the same peer fail."""
    for name in ("a.yml", "b.yml"):
        gateway.with_name(name).write_text(f"peers: {{'{'A' * 43}=': {{name: x}}}}\n")
    gateway.write_text(gateway.read_text().replace("{wg_quick: []}", "{files: [a.yml, b.yml], wg_quick: []}"))
    statuses = [(found.check, found.status) for found in checkfiles.directory(config.load(gateway).directory)]
    assert statuses == [("directory file", "ok"), ("directory file", "ok"), ("directory", "failed")]


def test_wg_quick_files_are_read(gateway: Path) -> None:
    """A wrong tag is a warning that costs one name; each file says how names were found; no match warns."""
    gateway.with_name("wg0.conf").write_text(f"# laptop\n[Peer]\nPublicKey = {'A' * 43}=\n")
    gateway.with_name("wg1.conf").write_text("[Peer]\n# friendly_json = {\n")
    patterns = "{wg_quick: [wg0.conf, wg1.conf, '*.nothing']}"
    gateway.write_text(gateway.read_text().replace("{wg_quick: []}", patterns))
    named, broken, other, nothing, together = checkfiles.directory(config.load(gateway).directory)
    how = "1 of 1 peer named (1 by comment above [Peer])"
    assert named.message == f"{gateway.with_name('wg0.conf')}: {how}"
    assert broken.status == "warning"
    assert f"{gateway.with_name('wg1.conf')}:2" in broken.remedy
    assert other.message == f"{gateway.with_name('wg1.conf')}: 0 of 1 peer named"
    assert nothing.status == "warning"
    assert together.message == "1 peer in the directory"


def test_a_directory_without_read_permission() -> None:
    """Patterns match nothing in a directory that the user may not list; that is a warning."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        hidden = Path(place) / "hidden"
        hidden.mkdir(mode=0o700 if os.geteuid() == 0 else 0)
        with without_privilege():
            found = next(checkfiles.directory(DirectorySettings(wg_quick=(f"{hidden}/*.conf",))))
    assert found.status == "warning"
    assert "may not list" in found.message


def test_a_port_in_use_names_its_process(gateway: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An address in use fails, and the message names the process that uses it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        gateway.write_text(gateway.read_text().replace("127.0.0.1:0", address))
        code, findings = check(gateway, capsys)
    assert code == 1
    assert f"pid {os.getpid()}" in findings[f"listen {address}"]["message"]


def test_the_exporter_itself_may_hold_the_port(gateway: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Checking a gateway while its exporter runs is not a failure."""
    program = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0));"
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, "/usr/bin/argus-wg", "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        address = f"127.0.0.1:{process.stdout.readline().strip()}"
        gateway.write_text(gateway.read_text().replace("127.0.0.1:0", address))
        code, findings = check(gateway, capsys)
        process.stdin.close()
    assert code == 0
    assert f"pid {process.pid}" in findings[f"listen {address}"]["message"]


@pytest.mark.parametrize(
    ("web", "status", "words"),
    [
        ("", "warning", "every host that reaches"),
        ("basic_auth_users: {ada: '" + HASH + "'}\n", "warning", "unencrypted"),
        ("rate_limit: {interval: 1s, burst: 5}\n", "warning", "every host that reaches"),
    ],
)
def test_who_may_read_beyond_loopback(tmp_path: Path, web: str, status: str, words: str) -> None:
    """Beyond loopback, metrics without a login and passwords without TLS are warnings."""
    file = tmp_path / "web.yml"
    file.write_text(web)
    settings = Config(listen=(ListenAddress("0.0.0.0", 0),), web_config=file, allow_unauthenticated=True)
    (found,) = checklisten.protection(settings)
    assert (found.status, words in found.message) == (status, True)


def test_a_broken_web_configuration_fails(gateway: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The web configuration is read with the certificates that it names."""
    gateway.with_name("web.yml").write_text("tls_server_config: {cert_file: no.pem, key_file: no.key}\n")
    add(gateway, "web_config: web.yml\n")
    code, findings = check(gateway, capsys)
    assert code == 1
    assert findings["web configuration"]["status"] == "failed"


def snapshot(*readings: Reading, devices: tuple[Device, ...] = ()) -> Snapshot:
    return Snapshot("gw1", 1_700_000_000.0, devices, readings)


def statuses(findings: Iterator[Finding]) -> dict[str, str]:
    return {found.check: found.status for found in findings}


REFUSED = Reading("netlink", "wg0", 0.1, "permission", "needs CAP_NET_ADMIN")


@pytest.mark.parametrize(
    ("effective", "readings", "namespaces", "expected"),
    [
        (NET_ADMIN, (), (), {"CAP_NET_ADMIN": "ok"}),
        (0, (REFUSED,), (), {"CAP_NET_ADMIN": "failed"}),
        (0, (), (), {"CAP_NET_ADMIN": "warning"}),
        (NET_ADMIN, (REFUSED,), ("blue",), {"CAP_NET_ADMIN": "ok", "CAP_SYS_ADMIN": "failed"}),
        (NET_ADMIN | 1 << 21, (), ("blue",), {"CAP_NET_ADMIN": "ok", "CAP_SYS_ADMIN": "ok"}),
    ],
)
def test_capabilities(
    effective: int, readings: tuple[Reading, ...], namespaces: tuple[str, ...], expected: dict[str, str]
) -> None:
    """A missing capability fails when a reading was refused for lack of it, and is otherwise a warning."""
    settings = Config(namespaces=namespaces)
    assert statuses(checkhost.capabilities(settings, snapshot(*readings), effective)) == expected


def test_effective_capabilities_are_those_of_this_process() -> None:
    """The check reads the capabilities of this process, also after they were dropped."""
    mask = checkhost.effective_capabilities()
    assert mask == int(subprocess.check_output(["grep", "CapEff", "/proc/self/status"]).split()[1], 16)
    with without_privilege():
        assert checkhost.effective_capabilities() & NET_ADMIN == 0


def test_a_namespace_that_is_not_there(gateway: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A configured network namespace that does not exist fails, with the command that creates it."""
    gateway.write_text(gateway.read_text().replace("netlink: false", "netlink: true"))
    add(gateway, "namespaces: [argus-none]\n")
    code, findings = check(gateway, capsys)
    assert code == 1
    assert findings["namespace argus-none"]["remedy"].startswith("run `ip netns add argus-none`")


def test_a_kernel_without_wireguard_is_ok_with_userspace_interfaces() -> None:
    """Without WireGuard in the kernel, a userspace interface is enough; without one it is a failure."""
    reading = Reading("uapi", "wg0", 0.1)
    both = [list(checkhost.kernel(Config(), snapshot(*given))) for given in ((reading,), ())]
    if "the kernel has WireGuard" in both[0][0].message:
        pytest.skip("this kernel has WireGuard")
    assert [found.status for (found,) in both] == ["ok", "failed"]
    assert "modprobe wireguard" in both[1][0].remedy


def test_a_handshake_in_the_future_is_the_clock() -> None:
    """A handshake in the future is a warning that says how far; a small difference is not."""
    device = Device("wg0", "kernel", last_handshake=[1_700_000_003, 0])
    assert statuses(checkhost.clock(snapshot(devices=(device,)))) == {"clock": "ok"}
    device = Device("wg0", "kernel", last_handshake=[1_700_000_184, 0])
    (found,) = checkhost.clock(snapshot(devices=(device,)))
    assert (found.status, "by up to 3m 4s" in found.message) == ("warning", True)


@pytest.mark.parametrize("error", errors.ReadError.__subclasses__())
@pytest.mark.parametrize("source", ["netlink", "netlink@blue", "uapi"])
def test_every_reason_has_a_remedy(error: type[errors.ReadError], source: str) -> None:
    """Every failure has a remedy, and names of interfaces are quoted for the shell."""
    reading = Reading(source, "wg0; reboot", 0.1, error.reason)
    remedy = remedy_of(reading, Path("/run/wireguard"))
    assert remedy
    assert "wg0; reboot" not in remedy.replace("'wg-quick@wg0; reboot'", "").replace(
        "'/run/wireguard/wg0; reboot.sock'", ""
    ).replace("'wg0; reboot'", "")
