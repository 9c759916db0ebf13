"""The web configuration as it is on disk now: looked at before each connection and each request."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from exporter.errors import InputError
from exporter.filestamp import Stamp, stamp
from exporter.web import webconfig
from exporter.web.webconfig import WebConfig


@dataclass(frozen=True, slots=True)
class Current:
    """A configuration and the TLS context made from it (None = plain HTTP)."""

    config: WebConfig = field(default_factory=WebConfig)
    context: ssl.SSLContext | None = None


class WebConfigWatch:
    """Reads the file when it, or a certificate or key it names, changed; a bad one changes nothing.

    A change that takes protection away altogether (users, TLS, client certificates) is refused
    until a restart: half a file can look exactly like it.
    """

    def __init__(self, path: Path | None, log: logging.Logger) -> None:
        """Reads the file for the first time. Raises `InputError`. Without a path: plain HTTP, for ever."""
        self.error = ""  # why what is on disk is not in force; "" = it is
        self._path = path
        self._log = log
        self._current = Current()
        self._stamps: dict[Path, Stamp] = {}
        if path:
            self._current = self._read(path)

    def current(self) -> Current:
        """What is in force, after a look at the files."""
        if any(stamp(path) != read for path, read in self._stamps.items()):
            self.reload()
        return self._current

    def reload(self) -> None:
        """Reads the files, changed or not. Never raises: what is wrong goes to the log and to `error`."""
        if not self._path:
            return
        try:
            self._current = self._read(self._path, self._current.config)
        except (InputError, OSError) as error:
            if not isinstance(error, InputError) or not error.line:
                self._stamps = {
                    self._path: ()
                }  # it could not be read at all: look again at the next occasion
            if str(error) != self.error:
                self._log.error("web configuration: %s; the last good one stays in force", error)
            self.error = str(error)
            return
        self._log.info("web configuration: %s is in force%s", self._path, " again" if self.error else "")
        self.error = ""

    def _read(self, path: Path, old: WebConfig | None = None) -> Current:
        # Stamps before contents: a change in between is then seen at the next look.
        self._stamps = {path: stamp(path)}
        config = webconfig.parse(path)
        if not config.tls:
            context = None
        else:
            self._stamps |= {file: stamp(file) for file in config.tls.files}
            context = config.tls.context()
        if old and (gone := webconfig.lowered(old, config)):
            raise InputError(str(path), 0, "", f"{gone} is gone; put it back, or restart if that is meant")
        for note in config.notes:
            self._log.info("web configuration: %s", note)
        return Current(config, context)
