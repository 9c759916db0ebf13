"""The database to use: from the configuration, or else from libpq's environment variables."""

from __future__ import annotations

import os
import pwd
import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest

from exporter.config import DatabaseSettings
from exporter.errors import InputError
from exporter.store.database.settings import Target, target
from tests.kit.web import make_pair

NOWHERE = {"HOME": "/nonexistent"}


def found(database: DatabaseSettings, **environ: str) -> Target:
    answer = target(database, {**NOWHERE, **environ})
    assert answer is not None
    return answer


def wrong(database: DatabaseSettings, environ: Mapping[str, str]) -> str:
    with pytest.raises(InputError) as caught:
        target(database, {**NOWHERE, **environ})
    return str(caught.value)


def test_without_an_address_the_private_server_is_used() -> None:
    """Without an address and PGHOST there is no target, whatever other variables are set."""
    assert target(DatabaseSettings(), NOWHERE) is None
    assert target(DatabaseSettings(name="x", user="y"), {**NOWHERE, "PGUSER": "z", "PGPORT": "1"}) is None


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("db.example.com", "db.example.com", 5432),
        ("db:6432", "db", 6432),
        ("10.0.0.7:1", "10.0.0.7", 1),
        ("[::1]:65535", "::1", 65535),
        ("[fe80::1]", "fe80::1", 5432),
        ("/run/postgresql", "/run/postgresql", 5432),
    ],
)
def test_an_address_is_a_host_with_a_port_or_a_directory(address: str, host: str, port: int) -> None:
    """Each form of an address gives its host and port; the default port is 5432."""
    answer = found(DatabaseSettings(address=address))
    assert (answer.host, answer.port) == (host, port)


@pytest.mark.parametrize(
    "address", ["db:", "db:0", "db:65536", "::1", "[::1", "[db]:1", "[10.0.0.1]", "a,b", "db:x", "a b", " "]
)
def test_a_wrong_address_is_refused(address: str) -> None:
    """Any other text is refused with the key and examples."""
    message = wrong(DatabaseSettings(address=address), {})
    assert message.startswith(f"the configuration: database.address: {address} is not an address")
    assert "[::1]:port" in message


def test_the_configuration_comes_before_the_environment() -> None:
    """Configured values win; missing ones come from PG* variables."""
    environ = {"PGHOST": "other", "PGPORT": "6000", "PGDATABASE": "d", "PGUSER": "u", "PGPASSWORD": "secret"}
    answer = found(DatabaseSettings(), **environ)
    assert (answer.host, answer.port, answer.database, answer.user) == ("other", 6000, "d", "u")
    assert answer.password == "secret"
    answer = found(DatabaseSettings(address="db:1", name="n", user="w"), **environ)
    assert (answer.host, answer.port, answer.database, answer.user) == ("db", 1, "n", "w")
    assert found(DatabaseSettings(address="db"), **environ).port == 6000


def test_defaults() -> None:
    """The default database is argus, the default user is that of the process, and there is no password."""
    answer = found(DatabaseSettings(address="db"))
    assert answer.database == "argus"
    assert answer.user == pwd.getpwuid(os.geteuid()).pw_name
    assert answer.password == ""


def test_a_service_overrides_the_environment(tmp_path: Path) -> None:
    """PGSERVICE names a section of a service file, whose values override PG* variables."""
    file = tmp_path / "services"
    file.write_text(
        "[argus]\nhost=db9\nport=7000\ndbname=records\nuser=gw%1\nsslmode=require\nkeepalives=1\n"
    )
    answer = found(
        DatabaseSettings(), PGSERVICE="argus", PGSERVICEFILE=str(file), PGHOST="no", PGDATABASE="no"
    )
    assert (answer.host, answer.port, answer.database, answer.user) == ("db9", 7000, "records", "gw%1")
    assert answer.tls == "require"
    home = tmp_path / ".pg_service.conf"
    file.rename(home)
    assert found(DatabaseSettings(), PGSERVICE="argus", HOME=str(tmp_path)).host == "db9"
    assert wrong(DatabaseSettings(), {"PGSERVICE": "other", "HOME": str(tmp_path)}) == (
        f"{home}: there is no service [other], which PGSERVICE names"
    )
    home.write_text("host=db9\n")
    assert "no section headers" in wrong(DatabaseSettings(), {"PGSERVICE": "argus", "HOME": str(tmp_path)})
    assert "no such file" in wrong(DatabaseSettings(), {"PGSERVICE": "argus"})


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("PGPORT", "0", "0 is not a port; write a number from 1 to 65535"),
        ("PGPORT", "5432,5433", "5432,5433 is not a port"),
        ("PGHOST", "a,b", "names several hosts"),
        ("PGSSLMODE", "on", "on is not a mode; write one of disable, allow, prefer"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, value: str, problem: str) -> None:
    """A wrong value in the environment is refused with the name of its variable."""
    message = wrong(DatabaseSettings(), {"PGHOST": "db", variable: value})
    assert message.startswith(f"the environment: {variable}: ")
    assert problem in message


def test_a_password_file_holds_one_line_and_is_private(tmp_path: Path) -> None:
    """The password is the only line; a file with other content, or that others may read, is refused."""
    file = tmp_path / "password"
    database = DatabaseSettings(address="db", password_file=file)
    assert "no such file" in wrong(database, {})
    file.write_text("s3cret wörd\n")
    file.chmod(0o600)
    assert found(database, PGPASSWORD="other").password == "s3cret wörd"
    for text in ("", "\n", "one\ntwo\n"):
        file.write_text(text)
        assert wrong(database, {}) == f"{file}: must contain one line, the password, and nothing else"
    file.chmod(0o604)
    assert wrong(database, {}) == f"{file}: others may read it (mode 0604); chmod 0600 {file}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_root_may_have_a_reading_group(tmp_path: Path) -> None:
    """As with libpq, mode 0640 is accepted for files of root only, as a service manager creates them."""
    file = tmp_path / "password"
    file.write_text("secret\n")
    file.chmod(0o640)
    database = DatabaseSettings(address="db", password_file=file)
    assert found(database).password == "secret"
    file.chmod(0o660)
    assert "mode 0660" in wrong(database, {})
    file.chmod(0o640)
    os.chown(file, 65534, 65534)
    assert "mode 0640" in wrong(database, {})


def test_a_password_is_never_shown() -> None:
    """Neither str nor repr of a target shows its password."""
    answer = found(DatabaseSettings(address="[::1]:5"), PGPASSWORD="hidden", PGUSER="u")
    assert "hidden" not in f"{answer} {answer!r}"
    assert str(answer) == "u@[::1]:5/argus"


@pytest.mark.parametrize(
    ("address", "mode", "tls"),
    [
        ("/run/postgresql", "verify-full", "disable"),
        ("localhost", "", "prefer"),
        ("127.0.0.9", "", "prefer"),
        ("[::1]", "", "prefer"),
        ("db", "", "verify-full"),
        ("10.0.0.1", "", "verify-full"),
        ("db", "prefer", "prefer"),
        ("localhost", "verify-ca", "verify-ca"),
    ],
)
def test_beyond_loopback_the_server_is_verified(address: str, mode: str, tls: str) -> None:
    """By default a server that is not on loopback is verified in full; PGSSLMODE can change that."""
    assert found(DatabaseSettings(address=address), PGSSLMODE=mode).tls == tls


def test_the_configured_mode_comes_before_the_environments() -> None:
    """database.tls wins over PGSSLMODE."""
    assert found(DatabaseSettings(address="db", tls="require"), PGSSLMODE="disable").tls == "require"


def test_what_a_context_verifies(tmp_path: Path) -> None:
    """verify-full checks name and signer, verify-ca the signer, require the signer only with a file."""
    authority = make_pair(tmp_path, "authority").cert

    def context(database: DatabaseSettings, **environ: str) -> ssl.SSLContext:
        made = found(database, **environ).context
        assert made is not None
        return made

    full = context(DatabaseSettings(address="db"))
    assert full.check_hostname
    assert full.verify_mode is ssl.CERT_REQUIRED
    signer = context(DatabaseSettings(address="db", tls="verify-ca", ca_file=authority))
    assert not signer.check_hostname
    assert signer.verify_mode is ssl.CERT_REQUIRED
    assert len(signer.get_ca_certs()) == 1
    assert context(DatabaseSettings(address="db", tls="require")).verify_mode is ssl.CERT_NONE
    signed = context(DatabaseSettings(address="db", tls="require"), PGSSLROOTCERT=str(authority))
    assert signed.verify_mode is ssl.CERT_REQUIRED
    assert found(DatabaseSettings(address="db", tls="prefer")).context is None


def test_where_authorities_come_from(tmp_path: Path) -> None:
    """Certificate authorities come from PGSSLROOTCERT or ~/.postgresql/root.crt; with `system`, or without
    both, from the system."""
    root = tmp_path / ".postgresql/root.crt"
    root.parent.mkdir()
    make_pair(tmp_path, "authority").cert.rename(root)

    def authorities(**environ: str) -> int:
        made = found(DatabaseSettings(address="db"), **environ).context
        assert made is not None
        return len(made.get_ca_certs())

    assert authorities(HOME=str(tmp_path)) == 1
    assert authorities(PGSSLROOTCERT=str(root)) == 1
    assert authorities(HOME=str(tmp_path), PGSSLROOTCERT="system") == authorities()


def test_configured_files_require_verification(tmp_path: Path) -> None:
    """With configured certificates loopback is verified as well; a mode that does not use them is refused."""
    authority = make_pair(tmp_path, "authority").cert
    assert (
        found(DatabaseSettings(address="localhost", ca_file=authority), PGSSLMODE="disable").tls
        == "verify-full"
    )
    message = wrong(DatabaseSettings(address="db", ca_file=authority, tls="prefer"), {})
    assert message.endswith("prefer does not use ca_file; write require, verify-ca or verify-full")


def test_a_bad_certificate_file_is_named(tmp_path: Path) -> None:
    """A file that is missing, is not PEM, or does not match its key is an error with its name."""
    pair, other = make_pair(tmp_path, "one"), make_pair(tmp_path, "two")
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("rubbish\n")
    assert f"{rubbish}: must contain certificates (PEM)" in wrong(
        DatabaseSettings(address="db", ca_file=rubbish), {}
    )
    assert "no such file" in wrong(DatabaseSettings(address="db", ca_file=tmp_path / "none"), {})
    pair.key.chmod(0o600)
    other.key.chmod(0o600)
    mixed = DatabaseSettings(address="db", certificate_file=pair.cert, key_file=other.key)
    assert wrong(mixed, {}).startswith(f"{pair.cert}: must contain a certificate with its key in {other.key}")
    other.key.chmod(0o644)
    assert wrong(mixed, {}).startswith(f"{other.key}: others may read it")
