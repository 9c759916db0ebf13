"""The directory of a running daemon follows its files."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from exporter.directory.entry import Directory
from exporter.directory.watch import DirectoryWatch
from tests.kit.directory import KEYS, SECRET, load_directory, names, write

LOG = logging.getLogger("test.directory")


def test_watch_follows_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A change, a new match and a removed match each replace the directory; no change does not."""
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
    """A symlink that is replaced, as for mounted volumes and releases, is a change."""
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
    """A bad file changes only `error`; the log says so once, and once when the file is valid again."""
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
    assert said == f"the directory has a mistake: {watch.error}"

    file.unlink()
    assert not watch.poll()
    assert watch.current is good
    assert "no such file" in caplog.messages[1]

    write(file, {KEYS[0]: "again"})
    assert watch.poll()
    assert watch.error is None
    assert names(watch.current) == {KEYS[0]: "again"}
    assert caplog.messages[2:] == [f"the directory is valid again: {file}"]
    assert watch.reload()
    assert len(caplog.messages) == 3


def test_watch_starts_with_a_bad_file(tmp_path: Path) -> None:
    """With a bad file from the start the directory is empty and has an error; a good file replaces both."""
    file = tmp_path / "d.yml"
    watch = DirectoryWatch([file], [], LOG)
    assert (watch.current, watch.generation, watch.loaded_at) == (Directory(), 0, 0.0)
    assert watch.error is not None
    write(file, {KEYS[0]: "here"})
    assert watch.poll()
    assert names(watch.current) == {KEYS[0]: "here"}


def test_watch_reads_only_what_changed(tmp_path: Path) -> None:
    """A poll keeps the entries of unchanged files; a reload reads all files again."""
    still = write(tmp_path / "a.yml", {KEYS[0]: "still"})
    moving = write(tmp_path / "b.yml", {KEYS[1]: "one"})
    watch = DirectoryWatch([still, moving], [], LOG)
    before = watch.current.entries[KEYS[0]]
    write(moving, {KEYS[1]: "two"})
    assert watch.poll()
    assert watch.current.entries[KEYS[0]] is before
    assert watch.reload()
    assert watch.current.entries[KEYS[0]] is not before


def test_watch_notices_a_changed_permission(tmp_path: Path) -> None:
    """A chmod alone, which changes neither content nor mtime, is a change."""
    file = write(tmp_path / "d.yml", {KEYS[0]: "a"})
    watch = DirectoryWatch([file], [], LOG)
    before = file.stat().st_ctime_ns
    while file.stat().st_ctime_ns == before:  # until the coarse clock of the file system ticks
        file.chmod(0o600)
    assert watch.poll()


def test_watch_holds_no_secret(tmp_path: Path) -> None:
    """The kept error has no traceback, whose frames would hold the file with its private key."""
    (tmp_path / "wg0.conf").write_text(f"[Interface]\nPrivateKey = {SECRET}\n[Peer]\n# friendly_json = {{\n")
    watch = DirectoryWatch([], [str(tmp_path / "*.conf")], LOG)
    assert watch.error is not None
    assert watch.error.__traceback__ is None
    assert watch.error.__context__ is None


def test_watch_keeps_the_order_of_files(tmp_path: Path) -> None:
    """When two wg-quick files name a peer the first counts, also when it was edited last."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.conf").write_text(f"# {name}\n[Peer]\nPublicKey = {KEYS[0]}\n")
    globs = [str(tmp_path / "*.conf")]
    watch = DirectoryWatch([], globs, LOG)
    with (tmp_path / "a.conf").open("a") as file:
        file.write("# touched\n")
    assert watch.poll()
    assert watch.current == load_directory([], globs)


def test_a_bad_file_costs_only_itself(tmp_path: Path) -> None:
    """Of a bad directory file the last good version stays in use; changes of the other files are used."""
    bad = write(tmp_path / "bad.yml", {KEYS[0]: "before"})
    good = write(tmp_path / "good.yml", {KEYS[1]: "one"})
    watch = DirectoryWatch([bad, good], [str(tmp_path / "*.conf")], LOG)
    bad.write_text("peers:\n  laptop: {}\n")
    write(good, {KEYS[1]: "two"})
    (tmp_path / "wg0.conf").write_text(f"# three\n[Peer]\nPublicKey = {KEYS[2]}\n")
    assert watch.poll()
    assert names(watch.current) == {KEYS[0]: "before", KEYS[1]: "two", KEYS[2]: "three"}
    assert list(watch.problems) == [bad]


def test_a_wg_quick_file_that_cannot_be_read_costs_only_itself(tmp_path: Path) -> None:
    """Beside a directory of that name, which cannot be read as a file, the directory file is used."""
    file = write(tmp_path / "d.yml", {KEYS[0]: "one"})
    (tmp_path / "wg0.conf").mkdir()
    watch = DirectoryWatch([file], [str(tmp_path / "*.conf")], LOG)
    assert names(watch.current) == {KEYS[0]: "one"}
    assert list(watch.problems) == [tmp_path / "wg0.conf"]


def test_one_key_has_the_name_of_each_interface(tmp_path: Path) -> None:
    """A key on two interfaces has the name that the file of each interface gives, in any namespace."""
    for interface, name in (("wg0", "alice over fibre"), ("wg1", "alice over LTE")):
        (tmp_path / f"{interface}.conf").write_text(f"# {name}\n[Peer]\nPublicKey = {KEYS[0]}\n")
    directory = DirectoryWatch([], [str(tmp_path / "*.conf")], LOG).current
    found = [directory.get(KEYS[0], label) for label in ("wg0", "wg1", "blue/wg1", "wg2")]
    assert [entry.name for entry in found if entry] == [
        "alice over fibre",
        "alice over LTE",
        "alice over LTE",
        "alice over fibre",
    ]


def test_a_file_without_its_comments_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When SaveConfig rewrites a file without comments, one warning says that its names are gone."""
    file = tmp_path / "wg0.conf"
    file.write_text(f"# laptop\n[Peer]\nPublicKey = {KEYS[0]}\n")
    watch = DirectoryWatch([], [str(file)], LOG)
    for port in (1, 2):
        file.write_text(f"[Interface]\nListenPort = {port}\n[Peer]\nPublicKey = {KEYS[0]}\n")
        watch.poll()
    (warning,) = caplog.messages
    assert "rewritten without comments, so its 1 names are gone" in warning
    assert names(watch.current) == {}
