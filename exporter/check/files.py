"""The files that an operator writes: each is read as the daemon would read it."""

from __future__ import annotations

import glob
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from exporter import config
from exporter.check.finding import Finding, failed, good, warning
from exporter.check.remedies import user
from exporter.config import Config, DirectorySettings
from exporter.directory import wgquick
from exporter.directory.load import load_directory
from exporter.errors import InputError
from exporter.inputfile import read_text
from exporter.terminal import count_text
from exporter.web import webconfig

MOST_MISTAKES = 20  # that are looked for in one file

# Without these the rest of the file means something else: whatever is found after them may not be a mistake.
DECISIVE = ("web_config", "allow_unauthenticated")


def configuration(path: Path | None) -> Iterator[Finding]:
    """The configuration file, with all of its mistakes."""
    if path is None:
        yield good("configuration", "no file: the defaults serve")
        return
    mistakes = config_mistakes(path)
    for mistake in sorted(mistakes, key=lambda mistake: mistake.line):
        yield refused("configuration", mistake)
    if not mistakes:
        yield good("configuration", f"{path} is valid")


def config_mistakes(path: Path) -> list[InputError]:
    """Every mistake of a configuration file, in the order in which it is read.

    Loading stops at the first mistake; so the key it names is taken out of a copy, and the copy loaded.
    """
    try:
        config.load(path)
    except InputError as error:
        mistakes = [error]
    else:
        return []
    with tempfile.TemporaryDirectory(prefix="argus-wg-") as directory:
        copy = Path(directory) / "config.yml"
        while (last := mistakes[-1]).line and last.field and last.field not in DECISIVE:
            copy.write_text(without(read_text(path if len(mistakes) == 1 else copy), last.line))
            try:
                config.load(copy)
            except InputError as error:
                if not error.field or len(mistakes) == MOST_MISTAKES:
                    break  # without a field it is not YAML any more, which the file was
                mistakes.append(InputError(str(path), error.line, error.field, error.detail, error.remedy))
            else:
                break
    return mistakes


def without(text: str, line: int) -> str:
    """A YAML text without the key on this line and what is nested in it; no other line moves."""
    lines = text.splitlines()
    indent = _indent(lines[line - 1])
    last = line
    while last < len(lines) and (re.match(r"\s*(#|$)", lines[last]) or _indent(lines[last]) > indent):
        last += 1
    lines[line - 1 : last] = [""] * (last - line + 1)
    return "\n".join(lines)


def _indent(line: str) -> int:
    """Columns before the key; a list item belongs to the key above it, also where it is not indented."""
    return len(line) - len(line.lstrip()) + bool(re.match(r"\s*- ", line))


def directory(files: DirectorySettings) -> Iterator[Finding]:
    """Each directory file and each wg-quick file alone, then all of them together."""
    found = [_directory_file(path) for path in files.files]
    for pattern in files.wg_quick:
        found += _wg_quick(pattern)
    yield from found
    if all(finding.status != "failed" for finding in found):
        try:
            known = load_directory(files.files, files.wg_quick)
        except InputError as error:
            yield refused("directory", error)
        else:
            yield good("directory", f"{count_text(len(known.entries), 'peer')} known")


def _directory_file(path: Path) -> Finding:
    try:
        entries = load_directory([path]).entries
    except InputError as error:
        return refused("directory file", error)
    return good("directory file", f"{path}: {count_text(len(entries), 'peer')}")


def _wg_quick(pattern: str) -> Iterator[Finding]:
    """The files that match one pattern; one that may not be listed matches nothing, without a word."""
    paths = [Path(name) for name in sorted(glob.glob(pattern))]  # noqa: PTH207 - the pattern may be absolute
    parent = Path(pattern).parent
    if not paths and parent.is_dir() and not os.access(parent, os.R_OK | os.X_OK, effective_ids=True):
        yield warning(
            "wg-quick files",
            f"{parent} may not be listed by {user()}: names in its files are not seen",
            "`directory.wg_quick: []` if names come from elsewhere; otherwise, though their private keys lie "
            f"open then, `setfacl -R -m u:{user()}:rX {quote(str(parent))}`",
        )
    elif not paths and pattern in DirectorySettings().wg_quick:
        yield good("wg-quick files", f"{pattern} matches no file")
    elif not paths:
        yield warning("wg-quick files", f"{pattern} matches no file", "correct `directory.wg_quick`")
    for path in paths:
        try:
            namings = wgquick.read(path)
        except InputError as error:
            yield refused("wg-quick file", error, "`directory.wg_quick: []` if names from it are not wanted")
        else:
            yield good("wg-quick file", f"{path}: {count_text(len(namings), 'named peer')}")


def web_configuration(settings: Config) -> Iterator[Finding]:
    """The web configuration file with every certificate it names."""
    if not settings.web_config:
        return
    try:
        loaded = webconfig.load(settings.web_config)
    except InputError as error:
        yield refused("web configuration", error)
        return
    protection = [
        "TLS" if loaded.tls else "plain HTTP",
        count_text(len(loaded.users), "user") if loaded.users else "no users",
    ]
    yield good("web configuration", f"{settings.web_config}: {', '.join(protection)}")
    for note in loaded.notes:
        yield warning("web configuration", note, f"take it out of {settings.web_config}")


def refused(check: str, error: InputError, otherwise: str = "") -> Finding:
    """A file that would not be taken. The problem of an `InputError` says what would be right."""
    place = f"{error.file}:{error.line}" if error.line else error.file
    key = f" ({error.field})" if error.field else ""
    remedy = f"correct {place}{key}"
    if not error.line and not os.access(error.file, os.R_OK, effective_ids=True):
        path = quote(error.file)
        remedy = (
            f"`setfacl -m u:{user()}:r {path}`"
            if _exists(error.file)
            else f"create {path}, or correct its name"
        )
    return failed(check, str(error), f"{remedy}; or {otherwise}" if otherwise else remedy)


def _exists(name: str) -> bool:
    """Whether a file is there, as far as this user may know: what cannot be looked at is taken to be."""
    try:
        Path(name).lstat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True
