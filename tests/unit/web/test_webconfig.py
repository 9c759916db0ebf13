"""What a web configuration file may contain."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import pytest

from exporter.errors import InputError
from exporter.web.configuration import webconfig
from exporter.web.configuration.protection import lowered
from exporter.web.limits.ratelimit import RateLimit
from exporter.web.tls import parameters
from exporter.web.tls.clientnames import has_allowed_name
from exporter.web.tls.context import server_tls
from tests.kit.paths import TESTDATA
from tests.kit.web import make_pair, password_hash, pem

BAD = sorted((TESTDATA / "web/bad").glob("*.yml"))
TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an authority, two servers' certificates and an encrypted key."""
    made = tmp_path_factory.mktemp("web")
    authority = make_pair(made, "ca")
    server = make_pair(made, "server", authority)
    make_pair(made, "other", authority)
    (made / "encrypted.key").write_bytes(pem(server.private_key, b"a passphrase"))
    return made


def written(folder: Path, text: str) -> Path:
    """A web configuration file beside the certificates."""
    path = folder / "web.yml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("file", BAD, ids=[file.stem for file in BAD])
def test_every_mistake_names_file_line_and_key(file: Path, folder: Path) -> None:
    """Each file has one mistake; its first line is the place and the text of the expected error."""
    path = Path(shutil.copy(file, folder))
    expected = file.read_text().splitlines()[0].removeprefix("# ").replace("FOLDER", str(folder))
    with pytest.raises(InputError) as raised:
        webconfig.load(path)
    assert str(raised.value).startswith(f"{path}:{expected}")


def test_an_empty_file_is_plain_http_for_everybody(folder: Path) -> None:
    """An empty file means plain HTTP without logins, as with exporter-toolkit."""
    config = webconfig.load(written(folder, "# nothing\n"))
    assert config == webconfig.WebConfig()
    assert (config.tls, config.users, config.headers, config.rate_limit) == (None, {}, {}, None)


def test_a_file_with_everything(folder: Path) -> None:
    """Every key is read; relative paths start at the file; keys without effect have a note."""
    first, second = password_hash("a"), password_hash("b")
    text = f"""\
tls_server_config:
  cert_file: server.crt
  key_file: {folder}/server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.crt
  client_allowed_sans: [prometheus.example.com, 192.0.2.1]
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: false
  curve_preferences: [CurveP384]
http_server_config:
  http2: true
  headers:
    Strict-Transport-Security: max-age=31536000
    X-Frame-Options: deny
    X-XSS-Protection: ""
basic_auth_users:
  alice: {first}
  zoë: {second}
rate_limit:
  interval: 250ms
  burst: 8
"""
    config = webconfig.load(written(folder, text))
    assert config.tls is not None
    assert config.tls.files == (folder / "server.crt", folder / "server.key", folder / "ca.crt")
    assert config.tls.client_allowed_sans == ("prometheus.example.com", "192.0.2.1")
    assert config.headers == {"Strict-Transport-Security": "max-age=31536000", "X-Frame-Options": "deny"}
    assert config.users == {"alice": first.encode(), "zoë": second.encode()}
    assert config.rate_limit == RateLimit(0.25, 8)
    assert [note.split(":")[0] for note in config.notes] == ["http2", "cipher_suites"]
    context = server_tls(config.tls).context
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert not context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    suites = {cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"}
    assert suites == {"ECDHE-ECDSA-AES256-GCM-SHA384"}


@pytest.mark.parametrize("suite", parameters.TLS12_SUITES)
def test_every_known_suite_is_offered_under_its_openssl_name(folder: Path, suite: str) -> None:
    """For each suite alone, this host's OpenSSL offers the suite that the table names."""
    config = webconfig.load(written(folder, f"{TLS}  cipher_suites: [{suite}]\n"))
    assert config.tls is not None
    ciphers = server_tls(config.tls).context.get_ciphers()
    offered = [cipher["name"] for cipher in ciphers if cipher["protocol"] != "TLSv1.3"]
    assert offered == [parameters.TLS12_SUITES[suite]]


@pytest.mark.parametrize("curve", parameters.CURVES)
def test_every_known_curve_is_accepted(folder: Path, curve: str) -> None:
    """Each curve alone is accepted."""
    assert webconfig.load(written(folder, f"{TLS}  curve_preferences: [{curve}]\n")).tls is not None


def without_curves(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """Makes Python's ssl refuse every curve with an error of this part of OpenSSL."""

    def refuse(context: ssl.SSLContext, name: str) -> None:
        error = ssl.SSLError(1, "unknown group")
        error.library = library
        raise error

    monkeypatch.setattr(ssl.SSLContext, "set_ecdh_curve", refuse)


def test_x25519_is_accepted_where_python_cannot_set_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Python's ssl cannot set X25519, as on Debian 12, OpenSSL's list stays and a note says so."""
    without_curves(monkeypatch, "EC")
    config = webconfig.load(written(folder, f"{TLS}  curve_preferences: [X25519]\n"))
    assert [note.split(":")[0] for note in config.notes] == ["curve_preferences"]


@pytest.mark.parametrize(("curve", "library"), [("CurveP384", "EC"), ("X25519", "SSL")])
def test_a_curve_that_openssl_refuses_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, curve: str, library: str
) -> None:
    """A curve that this host's OpenSSL has disabled is refused with file, line and key."""
    without_curves(monkeypatch, library)
    path = written(folder, f"{TLS}  curve_preferences: [{curve}]\n")
    with pytest.raises(InputError) as raised:
        webconfig.load(path)
    assert (raised.value.file, raised.value.line, raised.value.field) == (
        str(path),
        4,
        "tls_server_config.curve_preferences",
    )


def test_certificates_may_be_in_the_file_itself(folder: Path) -> None:
    """cert, key and client_ca accept PEM text; no other file is then watched, and repr shows no key."""
    lines = {
        name: (folder / name).read_text().replace("\n", "\n    ")
        for name in ("server.crt", "server.key", "ca.crt")
    }
    text = (
        f"tls_server_config:\n  cert: |\n    {lines['server.crt']}\n  key: |\n    {lines['server.key']}\n"
        f"  client_ca: |\n    {lines['ca.crt']}\n  client_auth_type: RequireAndVerifyClientCert\n"
    )
    config = webconfig.load(written(folder, text))
    assert config.tls is not None
    assert config.tls.files == ()
    assert "PRIVATE" not in repr(config)


def test_no_repr_and_no_error_holds_a_password_hash(folder: Path) -> None:
    """Neither repr nor an error contains a password hash, so no log does."""
    known = password_hash("a")
    config = webconfig.parse(written(folder, f"basic_auth_users:\n  alice: {known}\n"))
    assert known not in repr(config)
    with pytest.raises(InputError) as raised:
        webconfig.parse(written(folder, f"basic_auth_users:\n  alice: {known}x\n"))
    assert known not in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "gone"),
    [
        ("{users}", "", "basic_auth_users"),
        ("{tls}{users}", "{tls}", "basic_auth_users"),
        ("{tls}", "", "tls_server_config"),
        ("{tls}{ca}", "{tls}", "client_auth_type: RequireAndVerifyClientCert"),
        ("{tls}{ca}{sans}", "{tls}{ca}", "client_allowed_sans"),
        ("", "{tls}{ca}{sans}{users}", ""),
        ("{tls}{ca}{users}", "{tls}{ca}{users}{rate}", ""),
        ("{tls}{users}{rate}", "{tls}{users}", ""),
    ],
)
def test_lost_protection_is_noticed(folder: Path, old: str, new: str, gone: str) -> None:
    """A protection that the new configuration lacks is named; more protection is accepted."""
    parts = {
        "tls": TLS,
        "ca": "  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n",
        "sans": "  client_allowed_sans: [a.example]\n",
        "users": f"basic_auth_users:\n  alice: {password_hash('a')}\n",
        "rate": "rate_limit:\n  interval: 1s\n  burst: 1\n",
    }
    before, after = (webconfig.parse(written(folder, text.format(**parts))) for text in (old, new))
    assert lowered(before, after) == gone


@pytest.mark.parametrize(
    ("kind", "value", "allowed", "expected"),
    [
        ("DNS", "prometheus.example.com", "prometheus.example.com", True),
        ("DNS", "*.example.com", "prometheus.example.com", False),
        ("IP Address", "2001:DB8:0:0:0:0:0:1", "2001:db8::1", True),
        ("IP Address", "192.0.2.1", "192.0.2.1", True),
        ("email", "noc@example.com", "noc@example.com", True),
        ("URI", "spiffe://example/prometheus", "spiffe://example/prometheus", True),
        ("URI", "spiffe://example/other", "spiffe://example/prometheus", False),
    ],
)
def test_names_of_client_certificates_match_exactly(
    kind: str, value: str, allowed: str, expected: bool
) -> None:
    """Names of all four kinds are compared; wildcards match nothing; addresses match in any notation."""
    certificate = {"subjectAltName": (("DNS", "elsewhere"), (kind, value))}
    assert has_allowed_name(certificate, (allowed,)) is expected
    assert not has_allowed_name({}, (allowed,))
