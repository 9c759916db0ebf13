"""What can go wrong with the records; `reason` is a metric label."""

from __future__ import annotations

from typing import ClassVar

from exporter.errors import ArgusError


class StoreError(ArgusError):
    """The root of them."""

    reason: ClassVar[str] = "failed"


class DatabaseUnreachable(StoreError):
    """No connection: refused, timed out, closed. Worth another try."""

    reason = "unreachable"


class DatabaseRefused(StoreError):
    """The server answered and will not have us: password, role, missing right. Worth a try now and then."""

    reason = "refused"


class SchemaMismatch(StoreError):
    """The schema is older or newer than this program, or is not there."""

    reason = "schema"


class GatewayClaimed(StoreError):
    """Another installation writes under this gateway's name."""

    reason = "claimed"


class SpoolFull(StoreError):
    """The snapshot was not kept: the quota or the disk is used up."""

    reason = "spool-full"


class SpoolBroken(StoreError):
    """The spool cannot be trusted any more: an error of the disk, not of its space."""

    reason = "spool-broken"


class FrameCorrupt(StoreError):
    """The bytes of a frame are not those that were written."""

    reason = "frame-corrupt"


class EmbeddedFailed(StoreError):
    """The private PostgreSQL cannot run: no binaries, another major version, a directory that is not ours."""

    reason = "embedded"
