"""The directory of a running daemon: files are read again when they change."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from exporter.directory import directoryfile, wgfile
from exporter.directory.directoryfile import DirectoryFile
from exporter.directory.entry import Directory
from exporter.directory.merge import matches, merge, refuse_overlap
from exporter.directory.wgfile import NamesFile
from exporter.errors import InputError
from exporter.input.filestamp import Stamp, stamp


class DirectoryWatch:
    """A directory that follows its files.

    `current` is the directory in use, `generation` counts its replacements, `loaded_at` is the time of the
    last replacement (UNIX seconds). `problems` has the mistakes of the present files, by file. A mistake
    affects nothing else: if a directory file has one, the last good version of that file stays in use; if a
    wg-quick file has one, the peers with a mistake have no name; all other files are used.

    Reading 100,000 entries takes seconds, so call from a thread; calls wait for each other. A caller that
    caches by `generation` reads `generation` before `current`.
    """

    def __init__(
        self, files: Sequence[Path], globs: Sequence[str], log: logging.Logger, *, emails: bool = False
    ) -> None:
        self._files = tuple(files)
        self._globs = tuple(globs)
        self._log = log
        self._emails = emails
        self._lock = threading.Lock()
        self._seen: dict[Path, Stamp] = {}
        self._read_files: dict[Path, DirectoryFile] = {}  # of the contents now
        self._good_files: dict[Path, DirectoryFile] = {}  # the last version in use
        self._names: dict[Path, NamesFile] = {}
        self._contents: list[DirectoryFile | NamesFile] = []  # what `current` is merged of
        self._logged: set[str] = set()
        self.problems: dict[Path, tuple[InputError, ...]] = {}
        self.current = Directory()
        self.generation = 0
        self.loaded_at = 0.0
        self.reload()

    @property
    def error(self) -> InputError | None:
        """The first mistake; None = `current` is what the files say."""
        return next((problem for problems in self.problems.values() for problem in problems), None)

    def poll(self) -> bool:
        """Reads the files that changed since the last call, if any; true = `current` was replaced.

        Cheap when nothing changed. A change is a file with another stamp, and a new or removed match of a
        pattern.
        """
        with self._lock:
            seen = self._look()
            if seen == self._seen:
                return False
            changed = [
                path for path in self._seen.keys() | seen.keys() if seen.get(path) != self._seen.get(path)
            ]
            return self._read(seen, changed)

    def reload(self) -> bool:
        """Reads every file again; true = `current` was replaced."""
        with self._lock:
            seen = self._look()
            return self._read(seen, [*self._seen, *seen])

    def _look(self) -> dict[Path, Stamp]:
        return {path: stamp(path) for path in (*self._files, *matches(self._globs))}

    def _read(self, seen: dict[Path, Stamp], changed: Sequence[Path]) -> bool:
        self._seen = seen
        for path in changed:
            self._read_files.pop(path, None)
        problems: dict[Path, tuple[InputError, ...]] = {}
        used = list(self._directory_files(problems))
        names = list(self._names_files([path for path in seen if path not in self._files], changed, problems))
        self._report(problems)
        contents: list[DirectoryFile | NamesFile] = [*used, *names]
        if problems and not contents and not self.generation:
            return False  # no file can be used yet
        if self.generation and list(map(id, contents)) == list(map(id, self._contents)):
            return False  # only files with mistakes changed
        self.current, self._contents = merge(used, names), contents
        self.generation += 1
        self.loaded_at = time.time()
        return True

    def _directory_files(self, problems: dict[Path, tuple[InputError, ...]]) -> Iterator[DirectoryFile]:
        """The directory files in use: each as it is now, or else its last good version."""
        used: list[DirectoryFile] = []
        for path in self._files:
            try:
                file = self._read_files.get(path) or directoryfile.read(path)
                refuse_overlap(used, file)
            except InputError as error:
                problems[path] = (without_traceback(error),)
                good = self._good_files.get(path)
                if good is None or _overlaps(used, good):
                    continue
                file = good
            else:
                self._read_files[path] = self._good_files[path] = file
            used.append(file)
            yield file

    def _names_files(
        self, paths: Sequence[Path], changed: Sequence[Path], problems: dict[Path, tuple[InputError, ...]]
    ) -> Iterator[NamesFile]:
        for path in self._names.keys() - set(paths):
            del self._names[path]
        for path in paths:
            before = self._names.get(path)
            if before is None or path in changed:
                try:
                    self._names[path] = wgfile.read(path, emails=self._emails)
                except InputError as error:
                    problems[path] = (without_traceback(error),)
                    self._names.pop(path, None)
                    continue
                self._notice_lost_comments(before, self._names[path])
            if self._names[path].problems:
                problems[path] = self._names[path].problems
            yield self._names[path]

    def _notice_lost_comments(self, before: NamesFile | None, now: NamesFile) -> None:
        if before and before.namings and now.peers and not now.namings:
            self._log.warning(
                "%s: the file was rewritten without comments, so its %d names are gone; SaveConfig does "
                "that: write the names into a directory file, or turn SaveConfig off",
                now.path,
                len(before.namings),
            )

    def _report(self, problems: dict[Path, tuple[InputError, ...]]) -> None:
        """Logs each mistake once when it appears, and a file once when it has no mistake any more."""
        texts = {str(problem) for each in problems.values() for problem in each}
        for text in sorted(texts - self._logged):
            self._log.error("the directory has a mistake: %s", text)
        for path in self.problems.keys() - problems.keys():
            self._log.info("the directory is valid again: %s", path)
        self._logged, self.problems = texts, problems


def without_traceback(error: InputError) -> InputError:
    """A copy of an error: the traceback holds the bytes of a file that may contain private keys."""
    return InputError(error.file, error.line, error.field, error.detail, error.remedy)


def _overlaps(used: Sequence[DirectoryFile], file: DirectoryFile) -> bool:
    try:
        refuse_overlap(used, file)
    except InputError:
        return True
    return False
