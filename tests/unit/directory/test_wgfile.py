"""Names of peers from the comments of wg-quick files, and nothing else of these files."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.directory import wgfile
from exporter.directory.wgfile import NamesFile, Naming
from exporter.errors import InputError
from exporter.input.inputfile import read_into_buffer
from tests.kit.paths import TESTDATA

BAD = sorted((TESTDATA / "wgquick").glob("*.bad.conf"))
KEYS = [base64.b64encode(bytes([n] * 32)).decode() for n in range(1, 9)]
SECRET = base64.b64encode(bytes(range(32))).decode()


def read(tmp_path: Path, text: str) -> NamesFile:
    file = tmp_path / "wg0.conf"
    file.write_text(text)
    return wgfile.read(file)


def named(file: NamesFile) -> list[tuple[str, str, tuple[tuple[str, str], ...]]]:
    """(public key, name, labels) of each named peer."""
    return [(naming.public_key, naming.name, naming.extra) for naming in file.namings]


def names(file: NamesFile) -> list[tuple[str, str]]:
    """(name, how it was found) of each named peer."""
    return [(naming.name, naming.how) for naming in file.namings]


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.name.partition(".")[0])
def test_bad_file(path: Path) -> None:
    """Each bad file gives the error that its first line announces."""
    expected = path.read_bytes().partition(b"\n")[0].decode().removeprefix("# ")
    (problem,) = wgfile.read(path).problems
    assert str(problem).startswith(f"{path}:{expected}")


def test_every_way_of_naming(tmp_path: Path) -> None:
    """Friendly tags, plain comments and wg-easy's comments name peers; a peer without a name is left out."""
    file = read(
        tmp_path,
        f"""
# the server
[Interface]
PrivateKey = {SECRET}
# friendly_name = not a peer

[Peer]
# friendly_name=laptop
PublicKey = {KEYS[0]}

[peer]
#Friendly_Name = with = sign
publickey={KEYS[1]} # trailing

[Peer]
PublicKey = {KEYS[2]}
# friendly_json = {{"site": "berlin", "floor": 3, "ratio": 1.50, "vip": true}}

# Ana's phone
[Peer]
PublicKey = {KEYS[3]}

# Client: tablet (3f2b8a10-0000-4000-8000-00000000abcd)
[Peer]
PublicKey = {KEYS[4]}
PresharedKey = {SECRET}

# above
[Peer]
# friendly_name = inside
PublicKey = {KEYS[5]}

[Peer]
# friendly_json = {{"friendly_name": "both", "site": "lisbon"}}
PublicKey = {KEYS[6]}

[Peer]
PublicKey = {KEYS[7]}
AllowedIPs = 10.0.0.8/32
""",
    )
    assert named(file) == [
        (KEYS[0], "laptop", ()),
        (KEYS[1], "with = sign", ()),
        (KEYS[2], "", (("floor", "3"), ("ratio", "1.50"), ("site", "berlin"), ("vip", "true"))),
        (KEYS[3], "Ana's phone", ()),
        (KEYS[4], "tablet", ()),
        (KEYS[5], "inside", ()),
        (KEYS[6], "both", (("site", "lisbon"),)),
    ]
    assert file.problems == ()


@pytest.mark.parametrize(
    "above",
    [
        "# AllowedIPs = 10.0.0.1/32",
        f"# PresharedKey = {SECRET}",
        f"#PrivateKey={SECRET}",
        f"# {SECRET}",
        f"# old key {SECRET}",
        f"# {bytes(range(32)).hex()}",
        "# laptop\n",
        "# laptop\nMTU = 1420",
        "#",
        "",
    ],
)
def test_comments_that_are_no_names(tmp_path: Path, above: str) -> None:
    """Commented settings, keys, and comments that are not right above the section are no names."""
    assert not read(tmp_path, f"[Interface]\n{above}\n[Peer]\nPublicKey = {KEYS[0]}\n").namings


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    """A plain comment in another encoding is no name, and no error."""
    file = tmp_path / "wg0.conf"
    file.write_bytes(b"# caf\xe9\n[Peer]\nPublicKey = " + KEYS[0].encode() + b"\n")
    assert wgfile.read(file).namings == ()


def test_windows_lines(tmp_path: Path) -> None:
    """A file written on Windows gives the same names."""
    file = tmp_path / "wg0.conf"
    file.write_bytes(f"[Peer]\r\n# friendly_name = laptop\r\nPublicKey = {KEYS[0]}\r\n".encode())
    assert names(wgfile.read(file)) == [("laptop", "friendly_name")]


def test_a_placeholder_key_costs_only_its_peer(tmp_path: Path) -> None:
    """A placeholder instead of a public key is reported with its line; other peers keep their names."""
    file = read(tmp_path, f"[Peer]\nPublicKey = <key>\n[Peer]\n# laptop\nPublicKey = {KEYS[0]}\n")
    assert names(file) == [("laptop", "comment inside [Peer]")]
    assert [(problem.line, problem.field) for problem in file.problems] == [(2, "PublicKey")]


@pytest.mark.parametrize("tag", ['friendly_json = {"a": }', "friendly_json = [", "friendly_name = {}"])
def test_errors_hold_no_secret(tmp_path: Path, tag: str) -> None:
    """Neither a problem nor a name contains a key of the file."""
    keys = f"[Interface]\nPrivateKey = {SECRET}\n[Peer]\nPresharedKey = {SECRET}\nPublicKey = {KEYS[0]}\n"
    file = read(tmp_path, f"{keys}# {tag.replace('{}', SECRET)}\n")
    assert file.problems
    assert SECRET not in repr(file)


def test_missing_file(tmp_path: Path) -> None:
    """A file that was removed before it was read is an error."""
    with pytest.raises(InputError, match="no such file"):
        wgfile.read(tmp_path / "wg0.conf")


@given(st.binary(max_size=300))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Any bytes after a named peer leave its name in place, or are an `InputError`."""
    file = tmp_path_factory.getbasetemp() / "any.conf"
    file.write_bytes(f"# laptop\n[Peer]\nPublicKey = {KEYS[0]}\n[Interface]\n".encode() + data)
    assert wgfile.read(file).namings[0] == Naming(KEYS[0], "laptop", (), "comment above [Peer]")


FILES = {
    "angristan.conf": [("alice", "wireguard-install"), ("bob", "wireguard-install")],
    "disabled-json.conf": [],
    "disabled-peer.conf": [("alice", "friendly_name"), ("carol", "friendly_name")],
    "inside-peer.conf": [("alice-phone", "comment inside [Peer]"), ("bob-laptop", "comment inside [Peer]")],
    "json-null.conf": [("bob", "friendly_name")],
    "key-in-name.conf": [("alice", "friendly_name"), ("bob", "friendly_name")],
    "latin1.conf": [("bob", "friendly_name")],
    "networkd.netdev": [("alice", "friendly_name"), ("bob", "friendly_json")],
    "notes.conf": [("main office gateway", "comment above [Peer]")],
    "pivpn.conf": [("alice", "pivpn"), ("bob", "pivpn")],
    "tag-above.conf": [("alice", "friendly_name"), ("bob", "friendly_name"), ("carol", "friendly_name")],
    "template.conf": [],
    "wireguard-ui.conf": [("alice", "Name:"), ("bob", "Name:")],
}
MISTAKES = {
    "json-null.conf": (7, "friendly_json.last_name"),
    "latin1.conf": (7, "friendly_name"),
    "template.conf": (7, "PublicKey"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_tools_and_people(name: str) -> None:
    """Each kind of file gives exactly these names, found in these ways, and reports its mistakes."""
    file = wgfile.read(TESTDATA / "names" / name)
    assert names(file) == FILES[name]
    assert [(problem.line, problem.field) for problem in file.problems] == [
        MISTAKES[name] for _ in range(name in MISTAKES)
    ]


@pytest.mark.parametrize(
    ("above", "name"),
    [
        ("# BEGIN_PEER alice", "alice"),
        ("# Client: alice (3f2b8a10-0000-4000-8000-00000000abcd)", "alice"),
        (
            "# -WGP- Peer: alice / Updated: 2024 / Created: 2023\n# -WGP- Peer email: a@b.example",
            "alice",
        ),
        ("# -WGP- Created: 2024-01-01\n# -WGP- Display name: Alice's phone", "Alice's phone"),
        ("# peer_alice", "alice"),
        ("# peer1", "peer1"),
        ("#+Name = alice", "alice"),
        ("# Alias: alice", "alice"),
        ("### end bob ###\n### begin alice ###", "alice"),
        ("############", ""),
        ("# 2024-01-01", ""),
        ("# alice@example.org", ""),
        ("# Name: alice@example.org", ""),
        ("# TODO: rotate this key", ""),
        ("# This peer is in the cellar", ""),
        ("# https://wiki.example/alice", ""),
        ("# friendly_name = alice@example.org", "alice@example.org"),
    ],
)
def test_markers_and_comments(tmp_path: Path, above: str, name: str) -> None:
    """A marker of a tool gives the name in it, never the marker; notes, dates and addresses are no names."""
    file = read(tmp_path, f"[Interface]\nMTU = 1420\n\n{above}\n[Peer]\nPublicKey = {KEYS[0]}\n")
    assert [found for found, _ in names(file)] == ([name] if name else [])


def test_an_email_address_is_a_name_if_asked_for(tmp_path: Path) -> None:
    """With `emails`, a comment that is an e-mail address names the peer."""
    file = tmp_path / "wg0.conf"
    file.write_text(f"# alice@example.org\n[Peer]\nPublicKey = {KEYS[0]}\n")
    assert names(wgfile.read(file)) == []
    assert names(wgfile.read(file, emails=True)) == [("alice@example.org", "comment above [Peer]")]


def test_tags_at_the_end_of_each_section(tmp_path: Path) -> None:
    """In a file whose tags are the last lines of the sections, each tag names its own peer."""
    text = "".join(
        f"[Peer]\nPublicKey = {key}\n# friendly_name = {n}\n" for n, key in zip("abc", KEYS, strict=False)
    )
    found = [(key, name) for key, name, _ in named(read(tmp_path, text))]
    assert found == list(zip(KEYS, "abc", strict=False))


def test_the_buffer_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a file with 300 preshared keys was read, no key is left in its buffer."""
    secrets = [base64.b64encode(bytes([n % 256, n >> 8] * 16)).decode() for n in range(300)]
    peer = f"[Peer]\n# laptop\nPublicKey = {KEYS[0]}\nPresharedKey = "
    peers = "".join(f"{peer}{secret}\n" for secret in secrets)
    (tmp_path / "wg0.conf").write_text(f"[Interface]\nPrivateKey = {SECRET}\n{peers}")
    buffers: list[bytearray] = []

    def kept(path: Path, max_bytes: int) -> bytearray:
        buffers.append(read_into_buffer(path, max_bytes))
        return buffers[-1]

    monkeypatch.setattr(wgfile, "read_into_buffer", kept)
    file = wgfile.read(tmp_path / "wg0.conf")
    assert len(file.namings) == 300
    assert not any(buffers[0])


def test_the_interface_of_a_file() -> None:
    """wg-quick names the interface after the file, systemd-networkd by `Name=`."""
    assert wgfile.read(TESTDATA / "names" / "wg1.conf").interface == "wg1"
    assert wgfile.read(TESTDATA / "names" / "networkd.netdev").interface == "wg0"
