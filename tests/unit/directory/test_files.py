"""The directory: what the files say, who wins, and how it follows changes."""

from __future__ import annotations

import base64
import itertools
import logging
import os
from pathlib import Path

import pytest

from exporter.directory.files import Directory, DirectoryWatch, Entry, Site
from exporter.errors import InputError
from tests.kit.paths import PROJECT, TESTDATA

BAD = sorted((TESTDATA / "directory").glob("*.bad.yml"))
EXAMPLE = PROJECT / "deploy" / "directory.yml"
KEYS = [base64.b64encode(bytes([n] * 32)).decode() for n in range(1, 9)]
SECRET = base64.b64encode(bytes(range(32))).decode()
SECONDS = itertools.count(1_700_000_000)
LOG = logging.getLogger("test.directory")


def write(path: Path, names: dict[str, str]) -> Path:
    """A directory file; each is a second newer than the last, for the clock of a file system is coarse."""
    lines = [f"  {key}: {{name: {name}}}\n" for key, name in names.items()]
    path.write_text("peers:\n" + "".join(lines))
    now = next(SECONDS)
    os.utime(path, (now, now))
    return path


def names(directory: Directory) -> dict[str, str]:
    return {key: entry.name for key, entry in directory.entries.items()}


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.name.partition(".")[0])
def test_bad_file(path: Path) -> None:
    """Each bad file gives the error that its first line announces."""
    expected = path.read_text().partition("\n")[0].removeprefix("# ")
    with pytest.raises(InputError) as error:
        Directory.load([path])
    assert str(error.value).startswith(f"{path}:{expected}")


def test_example() -> None:
    """The example loads, with its defaults and its sites."""
    directory = Directory.load([EXAMPLE])
    branch, laptop = directory.entries.values()
    assert (branch.name, branch.owner, branch.stale_after) == ("branch-berlin", "noc@example.org", 600)
    assert (laptop.owner, laptop.expected, laptop.clearance) == ("ana@example.org", "on-demand", 2)
    assert directory.sites["lisbon"] == Site("lisbon", 38.722, -9.139)


def test_every_field(tmp_path: Path) -> None:
    """Each key reaches its field; what is not written is not stated."""
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
    directory = Directory.load([file])
    assert directory.get(KEYS[0]) == Entry(KEYS[0], "a", "b", "c", "d", "e", 3, "standby", "high", 3600)
    assert directory.get(KEYS[1]) == Entry(KEYS[1])
    assert directory.get(KEYS[2]) is None


def test_defaults_of_a_file(tmp_path: Path) -> None:
    """The defaults of a file fill what its entries leave out, wherever they stand, and nobody else's."""
    first, second = tmp_path / "a.yml", write(tmp_path / "b.yml", {KEYS[2]: "c"})
    first.write_text(
        f"peers:\n  {KEYS[0]}:\n  {KEYS[1]}: {{site: lisbon, expected: on-demand}}\n"
        "defaults: {site: berlin, expected: always-on, criticality: low, stale_after: 5m, clearance: 1}\n"
    )
    directory = Directory.load([first, second])
    shared = {"criticality": "low", "stale_after": 300, "clearance": 1}
    assert directory.entries == {
        KEYS[0]: Entry(KEYS[0], site="berlin", expected="always-on", **shared),  # type: ignore[arg-type]
        KEYS[1]: Entry(KEYS[1], site="lisbon", expected="on-demand", **shared),  # type: ignore[arg-type]
        KEYS[2]: Entry(KEYS[2], name="c"),
    }


def test_duplicates_over_files_name_both_places(tmp_path: Path) -> None:
    """A peer in two files is refused at the second place, and the first is named."""
    first = write(tmp_path / "a.yml", {KEYS[0]: "a", KEYS[1]: "b"})
    second = write(tmp_path / "b.yml", {KEYS[2]: "c", KEYS[3]: "d", KEYS[1]: "e"})
    with pytest.raises(InputError) as error:
        Directory.load([first, second])
    assert str(error.value) == (
        f"{second}:4: peers.{KEYS[1]}: the peer is already written at {first}:3; remove one of the two"
    )


def test_sites_over_files(tmp_path: Path) -> None:
    """A site in two files is refused."""
    files = [tmp_path / "a.yml", tmp_path / "b.yml"]
    for file in files:
        file.write_text("sites: {berlin: {latitude: 52.5, longitude: 13.4}}")
    with pytest.raises(InputError, match=rf"sites\.berlin: the site is already written in {files[0]}"):
        Directory.load(files)


def test_wg_quick_names_who_has_no_name(tmp_path: Path) -> None:
    """A name in a directory file wins; labels and missing names come from the first wg-quick file."""
    file = tmp_path / "d.yml"
    file.write_text(f"peers:\n  {KEYS[0]}: {{name: ours}}\n  {KEYS[1]}: {{site: berlin}}\n")
    (tmp_path / "wg0.conf").write_text(
        f'[Peer]\n# friendly_name = theirs\n# friendly_json = {{"x": "1"}}\nPublicKey = {KEYS[0]}\n'
        f"# second\n[Peer]\nPublicKey = {KEYS[1]}\n# third\n[Peer]\nPublicKey = {KEYS[2]}\n"
    )
    (tmp_path / "wg1.conf").write_text(f"# later\n[Peer]\nPublicKey = {KEYS[2]}\n")
    directory = Directory.load([file], [str(tmp_path / "*.conf"), str(tmp_path / "none" / "*.conf")])
    assert directory.entries == {
        KEYS[0]: Entry(KEYS[0], name="ours", extra=(("x", "1"),)),
        KEYS[1]: Entry(KEYS[1], name="second", site="berlin"),
        KEYS[2]: Entry(KEYS[2], name="third"),
    }


def test_watch_follows_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A change, a new match and a removed one each replace the directory; silence does not."""
    file = write(tmp_path / "d.yml", {KEYS[0]: "one"})
    watch = DirectoryWatch([file], [str(tmp_path / "*.conf")], LOG)
    assert (names(watch.current), watch.generation, watch.error) == ({KEYS[0]: "one"}, 1, None)
    assert watch.loaded_at > 0
    unchanged = watch.current
    assert not watch.poll()
    assert watch.current is unchanged

    write(file, {KEYS[0]: "two"})
    assert watch.poll()
    assert names(watch.current) == {KEYS[0]: "two"}

    conf = tmp_path / "wg0.conf"
    conf.write_text(f"# three\n[Peer]\nPublicKey = {KEYS[1]}\n")
    assert watch.poll()
    assert names(watch.current) == {KEYS[0]: "two", KEYS[1]: "three"}

    conf.unlink()
    assert watch.poll()
    assert names(watch.current) == {KEYS[0]: "two"}
    assert watch.generation == 4
    assert caplog.records == []


def test_watch_follows_symlinks(tmp_path: Path) -> None:
    """A link that is swapped for another, as volumes and releases are, is a change."""
    old = write(tmp_path / "old.yml", {KEYS[0]: "old"})
    new = write(tmp_path / "new.yml", {KEYS[0]: "new"})
    times = old.stat()
    os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))
    link = tmp_path / "d.yml"
    link.symlink_to(old)
    watch = DirectoryWatch([link], [], LOG)
    (tmp_path / "swap").symlink_to(new)
    (tmp_path / "swap").replace(link)
    assert watch.poll()
    assert names(watch.current) == {KEYS[0]: "new"}


def test_watch_keeps_the_last_good_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A bad file changes nothing but `error`; it is logged once, and once when it is good again."""
    caplog.set_level(logging.INFO)
    file = write(tmp_path / "d.yml", {KEYS[0]: "good"})
    watch = DirectoryWatch([file], [], LOG)
    good = watch.current

    file.write_text("peers:\n  laptop: {}\n")
    assert not watch.poll()
    assert not watch.poll()
    assert not watch.reload()
    assert watch.current is good
    assert watch.generation == 1
    assert watch.error is not None
    assert (watch.error.file, watch.error.line, watch.error.field) == (str(file), 2, "peers.laptop")
    [said] = caplog.messages
    assert said == f"the directory stays as it was: {watch.error}"

    file.unlink()
    assert not watch.poll()
    assert watch.current is good
    assert "no such file" in caplog.messages[1]

    write(file, {KEYS[0]: "again"})
    assert watch.poll()
    assert watch.error is None
    assert names(watch.current) == {KEYS[0]: "again"}
    assert caplog.messages[2:] == ["the directory is good again: 1 peers"]
    assert watch.reload()
    assert len(caplog.messages) == 3


def test_watch_starts_with_a_bad_file(tmp_path: Path) -> None:
    """Without a good one ever, the directory is empty and the error is known; it mends itself."""
    file = tmp_path / "d.yml"
    watch = DirectoryWatch([file], [], LOG)
    assert (watch.current, watch.generation, watch.loaded_at) == (Directory(), 0, 0.0)
    assert watch.error is not None
    write(file, {KEYS[0]: "here"})
    assert watch.poll()
    assert names(watch.current) == {KEYS[0]: "here"}


def test_watch_reads_only_what_changed(tmp_path: Path) -> None:
    """A poll keeps the entries of files that stayed as they were; a reload reads all again."""
    still = write(tmp_path / "a.yml", {KEYS[0]: "still"})
    moving = write(tmp_path / "b.yml", {KEYS[1]: "one"})
    watch = DirectoryWatch([still, moving], [], LOG)
    before = watch.current.entries[KEYS[0]]
    write(moving, {KEYS[1]: "two"})
    assert watch.poll()
    assert watch.current.entries[KEYS[0]] is before
    assert watch.reload()
    assert watch.current.entries[KEYS[0]] is not before


def test_watch_notices_a_mended_permission(tmp_path: Path) -> None:
    """A chmod alone, which leaves content and mtime as they were, is a change."""
    file = write(tmp_path / "d.yml", {KEYS[0]: "a"})
    watch = DirectoryWatch([file], [], LOG)
    before = file.stat().st_ctime_ns
    while file.stat().st_ctime_ns == before:  # until the coarse clock of the file system ticks
        file.chmod(0o600)
    assert watch.poll()


def test_watch_holds_no_secret(tmp_path: Path) -> None:
    """The error that is kept has no traceback, whose frames would hold the file with its private key."""
    (tmp_path / "wg0.conf").write_text(f"[Interface]\nPrivateKey = {SECRET}\n[Peer]\n# friendly_json = {{\n")
    watch = DirectoryWatch([], [str(tmp_path / "*.conf")], LOG)
    assert watch.error is not None
    assert watch.error.__traceback__ is None
    assert watch.error.__context__ is None


def test_watch_keeps_the_order_of_files(tmp_path: Path) -> None:
    """Of two wg-quick files that name a peer the same one counts, whichever was edited last."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.conf").write_text(f"# {name}\n[Peer]\nPublicKey = {KEYS[0]}\n")
    globs = [str(tmp_path / "*.conf")]
    watch = DirectoryWatch([], globs, LOG)
    with (tmp_path / "a.conf").open("a") as file:
        file.write("# touched\n")
    assert watch.poll()
    assert watch.current == Directory.load([], globs)
