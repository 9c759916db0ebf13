"""The web configuration in force. Its files are checked for changes before each connection and request."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from exporter.errors import InputError
from exporter.input.filestamp import Stamp, stamp
from exporter.web.configuration import webconfig
from exporter.web.configuration.protection import lowered
from exporter.web.configuration.webconfig import WebConfig
from exporter.web.tls.context import ServerTls, server_tls


@dataclass(frozen=True, slots=True)
class Current:
    """A web configuration, with its certificates read."""

    config: WebConfig = field(default_factory=WebConfig)
    tls: ServerTls | None = None  # None = plain HTTP


class WebConfigWatch:
    """Reads the web configuration when its file, a certificate or a key changed; ignores one with an error.

    A change that removes protection (all users, TLS, client certificates) is refused until a restart,
    because a file that is just being written can look the same.
    """

    def __init__(self, path: Path | None, log: logging.Logger) -> None:
        """Reads the file for the first time. Raises `InputError`. No path = plain HTTP."""
        self.error = ""  # why the file on disk is not in force; "" = it is
        self._path = path
        self._log = log
        self._current = Current()
        self._stamps: dict[Path, Stamp] = {}
        if path:
            self._current = self._read(path)

    def current(self) -> Current:
        """The configuration in force. Reads changed files first."""
        if any(stamp(path) != read for path, read in self._stamps.items()):
            self.reload()
        return self._current

    def reload(self) -> None:
        """Reads the files, changed or not. Never raises: an error is logged, and kept in `error`."""
        if not self._path:
            return
        try:
            self._current = self._read(self._path, self._current.config)
        except (InputError, OSError) as error:
            if not isinstance(error, InputError) or not error.line:
                self._stamps = {self._path: ()}  # the file could not be read: try again at the next check
            if str(error) != self.error:
                self._log.error("web configuration: %s; the last good one stays in force", error)
            self.error = str(error)
            return
        self._log.info("web configuration: %s is in force%s", self._path, " again" if self.error else "")
        self.error = ""

    def _read(self, path: Path, old: WebConfig | None = None) -> Current:
        # Stamps before contents: a change in between is then found at the next check.
        self._stamps = {path: stamp(path)}
        config = webconfig.parse(path)
        tls = None
        if config.tls:
            self._stamps |= {file: stamp(file) for file in config.tls.files}
            tls = server_tls(config.tls)
        if old and (gone := lowered(old, config)):
            remedy = "put it back, or restart if that is meant"
            raise InputError(str(path), 0, "", f"{gone} is gone", remedy)
        for note in config.notes:
            self._log.info("web configuration: %s", note)
        return Current(config, tls)
