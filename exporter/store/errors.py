"""Errors of the recording; `reason` is a metric label. exporter/errors.py has the tree of all errors."""

from __future__ import annotations

from typing import ClassVar

from exporter.errors import ArgusError


class StoreError(ArgusError):
    """Recording failed. Its subclasses say why."""

    reason: ClassVar[str] = "failed"


class DatabaseUnreachable(StoreError):
    """No connection: refused, timed out or closed. A later try may succeed."""

    reason = "unreachable"


class DatabaseRefused(StoreError):
    """The login is rejected or lacks a right, or TLS cannot be used or trusted. An administrator must act."""

    reason = "refused"


class SchemaMismatch(StoreError):
    """The schema is missing, or older or newer than this program."""

    reason = "schema"


class GatewayClaimed(StoreError):
    """Another installation records under this gateway's name."""

    reason = "claimed"


class SpoolFull(StoreError):
    """The snapshot was not kept: the quota or the disk is full."""

    reason = "spool-full"


class SpoolBroken(StoreError):
    """The spool cannot be used: the disk failed, as opposed to being full."""

    reason = "spool-broken"


class FrameCorrupt(StoreError):
    """The bytes of a frame are damaged."""

    reason = "frame-corrupt"


class EmbeddedFailed(StoreError):
    """The private PostgreSQL cannot run: no programs, another major version, a foreign directory."""

    reason = "embedded"
