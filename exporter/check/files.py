"""Checks of the files that an operator writes. Each is read in the same way as by the daemon."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from exporter import config
from exporter.check.finding import Finding, failed, good, warning
from exporter.check.remedies import user
from exporter.config import Config, DirectorySettings
from exporter.directory import directoryfile, wgfile
from exporter.directory.merge import matches
from exporter.directory.watch import DirectoryWatch
from exporter.errors import InputError
from exporter.input.inputfile import read_text
from exporter.terminal import count_text
from exporter.web.configuration import webconfig

_SILENT = logging.Logger("silent", logging.CRITICAL + 1)

MOST_MISTAKES = 20  # of one file that are reported

# Other keys are checked against these: without them, a correct value may be reported as a mistake.
DECISIVE = ("web_config", "allow_unauthenticated")


def configuration(path: Path | None) -> Iterator[Finding]:
    """The configuration file: a finding for each of its mistakes."""
    if path is None:
        yield good("configuration", "no file: the defaults are used")
        return
    mistakes = config_mistakes(path)
    for mistake in sorted(mistakes, key=lambda mistake: mistake.line):
        yield refused("configuration", mistake)
    if not mistakes:
        yield good("configuration", f"{path} is valid")


def config_mistakes(path: Path) -> list[InputError]:
    """Every mistake of a configuration file, in the order of reading.

    Loading stops at the first mistake. So its key is removed from a copy of the file, and the copy is loaded.
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
                    break  # without a field, the copy is not YAML any more, although the file was
                mistakes.append(InputError(str(path), error.line, error.field, error.detail, error.remedy))
            else:
                break
    return mistakes


def without(text: str, line: int) -> str:
    """A YAML text without the key on this line and its value; the other lines keep their numbers."""
    lines = text.splitlines()
    indent = _indent(lines[line - 1])
    last = line
    while last < len(lines) and (re.match(r"\s*(#|$)", lines[last]) or _indent(lines[last]) > indent):
        last += 1
    lines[line - 1 : last] = [""] * (last - line + 1)
    return "\n".join(lines)


def _indent(line: str) -> int:
    """Columns before the key; one more for a list item, which belongs to the key above it."""
    return len(line) - len(line.lstrip()) + bool(re.match(r"\s*- ", line))


def directory(files: DirectorySettings) -> Iterator[Finding]:
    """Each directory file and each wg-quick file separately, then all of them together."""
    found = [_directory_file(path) for path in files.files]
    for pattern in files.wg_quick:
        found += _wg_quick(pattern, emails=files.email_names)
    yield from found
    watch = DirectoryWatch(files.files, files.wg_quick, _SILENT, emails=files.email_names)
    known = "\n".join(finding.message for finding in found)
    problems = [problem for problems in watch.problems.values() for problem in problems]
    between_files = [problem for problem in problems if problem.problem not in known]
    for problem in between_files:
        yield refused("directory", problem)
    if not between_files and all(finding.status != "failed" for finding in found):
        yield good("directory", f"{count_text(len(watch.current.entries), 'peer')} in the directory")


def _directory_file(path: Path) -> Finding:
    try:
        entries = directoryfile.read(path).entries
    except InputError as error:
        return refused("directory file", error)
    return good("directory file", f"{path}: {count_text(len(entries), 'peer')}")


def _wg_quick(pattern: str, *, emails: bool) -> Iterator[Finding]:
    """The files that match one pattern. In a directory without read permission nothing matches: a warning."""
    paths = matches([pattern])
    parent = Path(pattern).parent
    if not paths and parent.is_dir() and not os.access(parent, os.R_OK | os.X_OK, effective_ids=True):
        yield warning(
            "wg-quick files",
            f"{user()} may not list {parent}: names in its files are not used",
            "set `directory.wg_quick: []` if names come from elsewhere; otherwise run `setfacl -R -m "
            f"u:{user()}:rX {quote(str(parent))}`, after which {user()} can also read the private keys",
        )
    elif not paths and pattern in DirectorySettings().wg_quick:
        yield good("wg-quick files", f"{pattern} matches no file")
    elif not paths:
        yield warning("wg-quick files", f"{pattern} matches no file", "correct `directory.wg_quick`")
    for path in paths:
        yield from _names_file(path, emails=emails)


def _names_file(path: Path, *, emails: bool) -> Iterator[Finding]:
    """One file: the number of its peers, how many have a name, and which comments gave the names."""
    check = "wg-quick file"
    try:
        file = wgfile.read(path, emails=emails)
    except InputError as error:
        yield refused(check, error, "set `directory.wg_quick: []` if its names are not wanted")
        return
    for problem in file.problems:
        yield warning(check, f"{problem.problem}: this peer has no name from the file", _correct(problem))
    ways = Counter(naming.how for naming in file.namings)
    found = ", ".join(f"{count} by {how}" for how, count in sorted(ways.items()))
    named = f"{len(file.namings)} of {count_text(file.peers, 'peer')} named"
    yield good(check, f"{path}: {named}{f' ({found})' if found else ''}")


def _correct(error: InputError) -> str:
    return error.remedy or f"correct {error.file}:{error.line}"


def web_configuration(settings: Config) -> Iterator[Finding]:
    """The web configuration file and the certificates that it names."""
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
        yield warning("web configuration", note, f"remove it from {settings.web_config}")


def refused(check: str, error: InputError, otherwise: str = "") -> Finding:
    """A file with a mistake. `otherwise` is a second remedy."""
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
    """Whether a file exists; also true if this user may not search its directory."""
    try:
        Path(name).lstat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True
