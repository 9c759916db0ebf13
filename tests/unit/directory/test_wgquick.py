"""Names of peers from the comments of wg-quick files, and nothing else of these files."""

from __future__ import annotations

import base64
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.directory import wgquick
from exporter.directory.wgquick import Naming
from exporter.errors import InputError
from tests.kit.paths import TESTDATA

BAD = sorted((TESTDATA / "wgquick").glob("*.bad.conf"))
KEYS = [base64.b64encode(bytes([n] * 32)).decode() for n in range(1, 9)]
SECRET = base64.b64encode(bytes(range(32))).decode()


def read(tmp_path: Path, text: str) -> list[Naming]:
    file = tmp_path / "wg0.conf"
    file.write_text(text)
    return wgquick.read(file)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.name.partition(".")[0])
def test_bad_file(path: Path) -> None:
    """Each bad file gives the error that its first line announces."""
    expected = path.read_bytes().partition(b"\n")[0].decode().removeprefix("# ")
    with pytest.raises(InputError) as error:
        wgquick.read(path)
    assert str(error.value).startswith(f"{path}:{expected}")


def test_every_way_of_naming(tmp_path: Path) -> None:
    """Friendly tags, plain comments and wg-easy's comments name peers; a peer without a name is left out."""
    named = read(
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
    assert named == [
        Naming(KEYS[0], "laptop"),
        Naming(KEYS[1], "with = sign"),
        Naming(KEYS[2], "", (("floor", "3"), ("ratio", "1.50"), ("site", "berlin"), ("vip", "true"))),
        Naming(KEYS[3], "Ana's phone"),
        Naming(KEYS[4], "tablet"),
        Naming(KEYS[5], "inside"),
        Naming(KEYS[6], "both", (("site", "lisbon"),)),
    ]


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
    assert read(tmp_path, f"[Interface]\n{above}\n[Peer]\nPublicKey = {KEYS[0]}\n") == []


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    """A plain comment in another encoding is no name, and no error."""
    file = tmp_path / "wg0.conf"
    file.write_bytes(b"# caf\xe9\n[Peer]\nPublicKey = " + KEYS[0].encode() + b"\n")
    assert wgquick.read(file) == []


def test_windows_lines(tmp_path: Path) -> None:
    """A file written on Windows gives the same names."""
    file = tmp_path / "wg0.conf"
    file.write_bytes(f"[Peer]\r\n# friendly_name = laptop\r\nPublicKey = {KEYS[0]}\r\n".encode())
    assert wgquick.read(file) == [Naming(KEYS[0], "laptop")]


def test_placeholder_keys_of_unnamed_peers(tmp_path: Path) -> None:
    """A peer without a name is left out, also when its key is not valid."""
    assert read(tmp_path, "[Peer]\nPublicKey = <key of the server>\n") == []


@pytest.mark.parametrize("tag", ['friendly_json = {"a": }', "friendly_json = [", "friendly_name = {}"])
def test_errors_hold_no_secret(tmp_path: Path, tag: str) -> None:
    """Neither the error nor its context contains other text of the file."""
    keys = f"[Interface]\nPrivateKey = {SECRET}\n[Peer]\nPresharedKey = {SECRET}\n"
    with pytest.raises(InputError) as error:
        read(tmp_path, f"{keys}# {tag.replace('{}', SECRET)}\n")
    assert SECRET not in "".join(traceback.format_exception(error.value))
    assert error.value.__context__ is None


def test_missing_file(tmp_path: Path) -> None:
    """A file that was removed before it was read is an error."""
    with pytest.raises(InputError, match="no such file"):
        wgquick.read(tmp_path / "wg0.conf")


@given(st.binary(max_size=300))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Any bytes after a named peer leave its name in place, or are an `InputError`."""
    file = tmp_path_factory.getbasetemp() / "any.conf"
    file.write_bytes(f"# laptop\n[Peer]\nPublicKey = {KEYS[0]}\n[Interface]\n".encode() + data)
    try:
        named = wgquick.read(file)
    except InputError:
        return
    assert named[0] == Naming(KEYS[0], "laptop")
