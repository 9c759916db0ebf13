"""Directory files and wg-quick files, merged into one directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.directory.entry import Entry, Site
from exporter.errors import InputError
from tests.kit.directory import KEYS, load_directory, write
from tests.kit.paths import PROJECT, TESTDATA

BAD = sorted((TESTDATA / "directory").glob("*.bad.yml"))
EXAMPLE = PROJECT / "deploy" / "directory.yml"


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.name.partition(".")[0])
def test_bad_file(path: Path) -> None:
    """Each bad file gives the error that its first line announces."""
    expected = path.read_text().partition("\n")[0].removeprefix("# ")
    with pytest.raises(InputError) as error:
        load_directory([path])
    assert str(error.value).startswith(f"{path}:{expected}")


def test_example() -> None:
    """The example loads, with its defaults and its sites."""
    directory = load_directory([EXAMPLE])
    branch, laptop = directory.entries.values()
    assert (branch.name, branch.owner, branch.stale_after) == ("branch-berlin", "noc@example.org", 600)
    assert (laptop.owner, laptop.expected, laptop.clearance) == ("ana@example.org", "on-demand", 2)
    assert directory.sites["lisbon"] == Site("lisbon", 38.722, -9.139)


def test_every_field(tmp_path: Path) -> None:
    """Each key reaches its field; a key that is left out is not stated."""
    file = tmp_path / "d.yml"
    file.write_text(
        f"""
        peers:
          {KEYS[0]}:
            {{name: a, site: b, role: c, owner: d, organisation: e, clearance: 3, expected: standby,
              criticality: high, stale_after: 1h}}
          {KEYS[1]}: {{}}
        """
    )
    directory = load_directory([file])
    assert directory.get(KEYS[0]) == Entry(KEYS[0], "a", "b", "c", "d", "e", 3, "standby", "high", 3600)
    assert directory.get(KEYS[1]) == Entry(KEYS[1])
    assert directory.get(KEYS[2]) is None


def test_defaults_of_a_file(tmp_path: Path) -> None:
    """The defaults of a file fill the fields that its entries leave out, and not those of other files."""
    first, second = tmp_path / "a.yml", write(tmp_path / "b.yml", {KEYS[2]: "c"})
    first.write_text(
        f"peers:\n  {KEYS[0]}:\n  {KEYS[1]}: {{site: lisbon, expected: on-demand}}\n"
        "defaults: {site: berlin, expected: always-on, criticality: low, stale_after: 5m, clearance: 1}\n"
    )
    directory = load_directory([first, second])
    shared = {"criticality": "low", "stale_after": 300, "clearance": 1}
    assert directory.entries == {
        KEYS[0]: Entry(KEYS[0], site="berlin", expected="always-on", **shared),  # type: ignore[arg-type]
        KEYS[1]: Entry(KEYS[1], site="lisbon", expected="on-demand", **shared),  # type: ignore[arg-type]
        KEYS[2]: Entry(KEYS[2], name="c"),
    }


def test_duplicates_over_files_name_both_places(tmp_path: Path) -> None:
    """A peer in two files is an error at the second place, which names the first."""
    first = write(tmp_path / "a.yml", {KEYS[0]: "a", KEYS[1]: "b"})
    second = write(tmp_path / "b.yml", {KEYS[2]: "c", KEYS[3]: "d", KEYS[1]: "e"})
    with pytest.raises(InputError) as error:
        load_directory([first, second])
    assert str(error.value) == (
        f"{second}:4: peers.{KEYS[1]}: the peer is already written at {first}:3; remove one of the two"
    )


def test_sites_over_files(tmp_path: Path) -> None:
    """A site in two files is an error."""
    files = [tmp_path / "a.yml", tmp_path / "b.yml"]
    for file in files:
        file.write_text("sites: {berlin: {latitude: 52.5, longitude: 13.4}}")
    with pytest.raises(InputError, match=rf"sites\.berlin: the site is already written in {files[0]}"):
        load_directory(files)


def test_wg_quick_names_peers_without_a_name(tmp_path: Path) -> None:
    """A directory file's name takes precedence; labels and missing names are the first wg-quick file's."""
    file = tmp_path / "d.yml"
    file.write_text(f"peers:\n  {KEYS[0]}: {{name: ours}}\n  {KEYS[1]}: {{site: berlin}}\n")
    (tmp_path / "wg0.conf").write_text(
        f'[Peer]\n# friendly_name = theirs\n# friendly_json = {{"x": "1"}}\nPublicKey = {KEYS[0]}\n'
        f"# second\n[Peer]\nPublicKey = {KEYS[1]}\n# third\n[Peer]\nPublicKey = {KEYS[2]}\n"
    )
    (tmp_path / "wg1.conf").write_text(f"# later\n[Peer]\nPublicKey = {KEYS[2]}\n")
    directory = load_directory([file], [str(tmp_path / "*.conf"), str(tmp_path / "none" / "*.conf")])
    assert directory.entries == {
        KEYS[0]: Entry(KEYS[0], name="ours", extra=(("x", "1"),)),
        KEYS[1]: Entry(KEYS[1], name="second", site="berlin"),
        KEYS[2]: Entry(KEYS[2], name="third"),
    }
