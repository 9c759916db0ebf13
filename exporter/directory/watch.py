"""The directory of a running daemon: files are read again when they change."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from exporter.directory import directoryfile, wgquick
from exporter.directory.directoryfile import DirectoryFile
from exporter.directory.entry import Directory
from exporter.directory.load import matches, merge
from exporter.errors import InputError
from exporter.input.filestamp import Stamp, stamp


class DirectoryWatch:
    """A directory that follows its files.

    `current` is the last valid directory (empty until there is one), `generation` counts its replacements,
    `loaded_at` is the time of the last one (UNIX seconds), and `error` says why the files as they are now are
    not valid (None = `current` is what the files say).

    Reading 100,000 entries takes seconds, so call from a thread; calls wait for each other. A caller that
    caches by `generation` reads `generation` before `current`.
    """

    def __init__(self, files: Sequence[Path], globs: Sequence[str], log: logging.Logger) -> None:
        self._files = tuple(files)
        self._globs = tuple(globs)
        self._log = log
        self._lock = threading.Lock()
        self._seen: dict[Path, Stamp] = {}
        self._directory_files: dict[Path, DirectoryFile] = {}
        self._namings: dict[Path, list[wgquick.Naming]] = {}
        self.current = Directory()
        self.generation = 0
        self.error: InputError | None = None
        self.loaded_at = 0.0
        self.reload()

    def poll(self) -> bool:
        """Reads the files that changed since the last call, if any; true = `current` was replaced.

        Cheap when nothing changed. A change is a file with another stamp, and a new or removed match of a
        pattern.
        """
        with self._lock:
            seen = self._look()
            if seen == self._seen:
                return False
            for path in self._seen.keys() | seen.keys():
                if seen.get(path) != self._seen.get(path):
                    self._directory_files.pop(path, None)
                    self._namings.pop(path, None)
            return self._read(seen)

    def reload(self) -> bool:
        """Reads every file again; true = `current` was replaced."""
        with self._lock:
            self._directory_files.clear()
            self._namings.clear()
            return self._read(self._look())

    def _look(self) -> dict[Path, Stamp]:
        return {path: stamp(path) for path in (*self._files, *matches(self._globs))}

    def _read(self, seen: dict[Path, Stamp]) -> bool:
        self._seen = seen
        try:
            directory = self._load([path for path in seen if path not in self._files])
        except InputError as error:
            self._refuse(error)
            return False
        if self.error is not None:
            self._log.info("the directory is valid again: %d peers", len(directory.entries))
        self.current, self.error = directory, None
        self.generation += 1
        self.loaded_at = time.time()
        return True

    def _load(self, wg_quick: Sequence[Path]) -> Directory:
        for path in self._files:
            if path not in self._directory_files:
                self._directory_files[path] = directoryfile.read(path)
        for path in wg_quick:
            if path not in self._namings:
                self._namings[path] = wgquick.read(path)
        files = (self._directory_files[path] for path in self._files)
        return merge(files, (self._namings[path] for path in wg_quick))

    def _refuse(self, error: InputError) -> None:
        if str(error) != str(self.error):
            self._log.error("the directory is not valid, the previous one stays in use: %s", error)
        # A copy: the traceback of the error holds the bytes of a file that may contain private keys.
        self.error = InputError(error.file, error.line, error.field, error.detail, error.remedy)
