"""The spool: an ordered queue of encoded frames in SQLite, in which snapshots wait for the database.

A frame is durable when `append` returns: it survives the end of the process at any moment, and a loss of
power. The quota limits the file and its write-ahead log together.
"""

from __future__ import annotations

import contextlib
import resource
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from exporter.store.errors import FrameCorrupt, SpoolBroken, SpoolFull, StoreError
from exporter.store.snapshot.frame import Frame, Gap
from exporter.store.spool import room as spoolroom
from exporter.store.spool.file import PAGE, is_malformed, open_spool, replace_malformed


@dataclass(frozen=True, slots=True)
class SpooledFrame:
    """A frame in the spool. `taken_at` is in UNIX seconds. A frame that is not `intact` has damaged bytes."""

    id: int
    run: UUID
    epoch: int
    sequence: int
    taken_at: float
    data: bytes
    intact: bool


class Spool:
    """The spool at `path`, of at most `quota` bytes. Thread-safe; calls block on the disk.

    Opening raises SpoolBroken. After the disk failed to write or read, every call raises SpoolBroken: a disk
    cannot be trusted after a failed fsync. The attributes never raise.
    """

    quota: int  # bytes; smaller than requested if the process has a lower limit for file sizes
    installation: UUID  # the identity of this installation
    set_aside: Path | None  # the new path of a file that could not be read
    last_instant: float  # of the newest frame ever appended; UNIX seconds, 0 = there was none
    oldest: float  # instant of the oldest frame in the spool; 0 = it is empty
    depth: int  # number of frames
    size: int  # bytes in use
    wants_keyframe: bool  # a discarded frame is missing from the epoch: the next frame must be a keyframe
    _gaps: list[Gap]
    _epoch: tuple[int, bytes, int]  # the newest epoch: id, run, sequence

    def __init__(self, path: Path, quota: int) -> None:
        self._path = path
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        self.quota = quota if limit == resource.RLIM_INFINITY else min(quota, limit)
        self._lock = threading.Lock()
        self._broken: SpoolBroken | None = None  # the error of every further call
        self._confirmed = 0  # id: frames up to it are confirmed
        self._removed = 0  # id: frames up to it are deleted from the file
        self.wants_keyframe = False
        self._connection, self.set_aside = open_spool(path)
        try:
            with self._guarded() as connection:
                self._load(connection)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._broken = self._broken or SpoolBroken(f"{self._path}: the spool is closed")
            self._connection.close()

    @property
    def gaps(self) -> list[Gap]:
        """The gaps that the next frame has to report, in order. `ended_at` 0 = the gap continues."""
        return list(self._gaps)

    def append(self, data: bytes, frame: Frame) -> None:
        """Writes an encoded frame to the disk. `frame.gaps` is a beginning of `lost`, which is then reported.

        Raises SpoolFull, and then keeps nothing of the frame. Raises ValueError for a frame of another epoch
        than the last one.
        """
        keys = _keys(frame)
        run, instant = frame.run.bytes, round(frame.taken_at * 1000)
        crc = _crc(data, run, frame.epoch, frame.sequence, instant)
        with self._guarded() as connection:
            self._remove(connection)
            self._make_room(connection, [len(data), *(len(blob) for _, blob in keys)])
            remaining = self._gaps[len(frame.gaps) :]
            with _transaction(connection):
                epoch = self._enter_epoch(connection, frame)
                added = connection.execute(_ADD_FRAME, (epoch, frame.sequence, instant, crc, data))
                rows = [(epoch, added.lastrowid, label, _crc(blob, label), blob) for label, blob in keys]
                connection.executemany("insert into keys values (?, ?, ?, ?, ?)", rows)
                connection.execute("update meta set last_instant = ?", (instant,))
                if frame.gaps:
                    _write_gaps(connection, remaining)
            self._epoch = epoch, run, frame.epoch
            self._gaps = remaining
            self.last_instant = instant / 1000
            self.wants_keyframe = self.wants_keyframe and not frame.keyframe
            self.depth += 1
            self._measure(connection)

    def first(self, n: int) -> list[SpooledFrame]:
        """The `n` oldest frames, in order."""
        with self._guarded() as connection:
            rows = connection.execute(_FIRST, (self._confirmed, n)).fetchall()
        return [_spooled(*row) for row in rows]

    def keys_before(self, frame: SpooledFrame) -> dict[str, list[str]]:
        """Interface → the public keys of its slots before this frame. Raises FrameCorrupt."""
        with self._guarded() as connection:
            rows = connection.execute(_KEYS, (frame.run.bytes, frame.epoch, frame.id)).fetchall()
        slots: dict[str, list[str]] = {}
        for name, crc, blob in rows:
            if crc != _crc(blob, name):
                raise FrameCorrupt(
                    f"{self._path}: the keys before frame {frame.sequence} of {frame.run} are damaged"
                )
            slots.setdefault(name.decode(errors="surrogatepass"), []).extend(blob.decode().split("\n"))
        return slots

    def confirm_through(self, id: int) -> None:
        """Removes every frame up to this one. On a full disk the removal is lost with the process, which is
        harmless: the writer recognises the frames."""
        with self._guarded() as connection:
            count = "select count(*) from frame where id > ? and id <= ?"
            self.depth -= connection.execute(count, (self._confirmed, id)).fetchone()[0]
            self._confirmed = max(self._confirmed, id)
            self._remove(connection)
            self._measure(connection)

    def discard(self, id: int, since: float = 0.0) -> Gap:
        """Removes a frame that cannot be read, and notes the gap. Raises KeyError, SpoolFull.

        `since` is the instant of the last valid frame before it, if known. The keys that the frame added
        stay.
        """
        with self._guarded() as connection:
            query = "select taken_at / 1000.0 from frame where id >= ? order by id limit 2"
            instants = [row[0] for row in connection.execute(query, (id,))]
            with _transaction(connection):
                if not connection.execute("delete from frame where id = ?", (id,)).rowcount:
                    raise KeyError(id)
                gap = Gap(since or instants[0], (*instants, 0.0)[1], FrameCorrupt.reason, 1)
                _write_gaps(connection, [*self._gaps, gap])
            self._gaps = [*self._gaps, gap]
            self.wants_keyframe = True
            self.depth -= 1
            self._measure(connection)
        return gap

    def note_gap(self, gap: Gap) -> None:
        """Notes a gap, for the next frame to report. With `ended_at` 0, the snapshots are added to a gap that
        continues for the same reason. On a full disk the note is lost with the process."""
        with self._guarded() as connection:
            self._gaps = _joined(self._gaps, gap)
            with self._if_it_fits(), _transaction(connection):
                _write_gaps(connection, self._gaps)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[sqlite3.Connection]:
        """Serves one caller at a time. Errors of SQLite become SpoolFull, or SpoolBroken from then on."""
        with self._lock:
            if self._broken:
                raise SpoolBroken(self._broken.problem, self._broken.remedy)
            try:
                yield self._connection
            except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
                raise
            except sqlite3.DatabaseError as error:
                raise self._judge(error) from error

    def _judge(self, error: sqlite3.DatabaseError) -> StoreError:
        if spoolroom.is_full(error, self._path):
            return SpoolFull(
                f"{self._path}: the disk, or the quota of the file system, is full", spoolroom.MAKE_ROOM
            )
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        problem, remedy = f"{self._path}: {error} ({name})", "check the disk, and restart the daemon"
        if is_malformed(error):
            with contextlib.suppress(OSError, sqlite3.Error):
                self._connection.close()
                self.set_aside = replace_malformed(self._path, str(error))
                problem += f": the file was moved to {self.set_aside.name}"
                remedy = "restart the daemon, which begins a new one"
        self._broken = SpoolBroken(problem, remedy)
        return self._broken

    @contextlib.contextmanager
    def _if_it_fits(self) -> Iterator[None]:
        """Tolerates a full disk, for changes that memory holds and that can be written later."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if not spoolroom.is_full(error, self._path):
                raise

    def _load(self, connection: sqlite3.Connection) -> None:
        installation, instant = connection.execute("select installation, last_instant from meta").fetchone()
        self.installation = UUID(bytes=installation)
        self.last_instant = instant / 1000
        newest = connection.execute("select id, run, sequence from epoch order by id desc limit 1").fetchone()
        self._epoch = newest or (0, b"", 0)
        rows = connection.execute("select started_at, ended_at, reason, snapshots from lost order by id")
        self._gaps = [Gap(start / 1000, end / 1000, reason, count) for start, end, reason, count in rows]
        self.depth = connection.execute("select count(*) from frame").fetchone()[0]
        self._measure(connection)

    def _enter_epoch(self, connection: sqlite3.Connection, frame: Frame) -> int:
        run = frame.run.bytes
        if frame.keyframe:
            added = connection.execute("insert into epoch (run, sequence) values (?, ?)", (run, frame.epoch))
            return added.lastrowid or 0
        if (run, frame.epoch) != self._epoch[1:]:
            raise ValueError(
                f"frame {frame.sequence} builds on keyframe {frame.epoch}, which is not the last one"
            )
        return self._epoch[0]

    def _make_room(self, connection: sqlite3.Connection, blobs: Iterable[int]) -> None:
        """Makes room for blobs of these sizes. Raises SpoolFull if they do not fit."""
        need = spoolroom.needed(blobs)
        if not spoolroom.shortage(connection, self._path, self.quota, need):
            return
        file, _ = spoolroom.sizes(connection)
        spoolroom.shrink(connection, max(0, file + 2 * need - self.quota) // PAGE + 1)
        spoolroom.merge_log(connection)
        shortage = spoolroom.shortage(connection, self._path, self.quota, need)
        if shortage:
            raise SpoolFull(
                f"{self._path}: {shortage.of} is full, {self.depth} snapshots wait for the database",
                shortage.remedy,
            )

    def _remove(self, connection: sqlite3.Connection) -> None:
        """Deletes confirmed frames from the file. A full disk delays this, unless merging the log makes
        room."""
        with self._if_it_fits():
            self._delete(connection)
        if self._removed < self._confirmed:
            with self._if_it_fits():
                spoolroom.merge_log(connection)
                self._delete(connection)

    def _delete(self, connection: sqlite3.Connection) -> None:
        """Deletes confirmed frames and unused keys, and shrinks a file that is mostly empty."""
        if self._removed == self._confirmed:
            return
        with _transaction(connection):
            connection.execute("delete from frame where id <= ?", (self._confirmed,))
            oldest = connection.execute("select epoch from frame order by id limit 1").fetchone()
            epoch = (oldest[0] if oldest else self._epoch[0],)
            connection.execute("delete from keys where epoch < ?", epoch)
            connection.execute("delete from epoch where id < ?", epoch)
        self._removed = self._confirmed
        file, used = spoolroom.sizes(connection)
        if file > 2 * max(used, spoolroom.SHRINK * PAGE):
            spoolroom.shrink(connection, spoolroom.SHRINK)

    def _measure(self, connection: sqlite3.Connection) -> None:
        self.size = spoolroom.sizes(connection)[1]
        query = "select taken_at from frame where id > ? order by id limit 1"
        oldest = connection.execute(query, (self._confirmed,)).fetchone()
        self.oldest = oldest[0] / 1000 if oldest else 0.0


_ADD_FRAME = "insert into frame (epoch, sequence, taken_at, crc, data) values (?, ?, ?, ?, ?)"
_FIRST = """
select f.id, e.run, e.sequence, f.sequence, f.taken_at, f.crc, f.data
from frame f join epoch e on e.id = f.epoch where f.id > ? order by f.id limit ?
"""
_KEYS = """
select k.label, k.crc, k.keys from keys k join epoch e on e.id = k.epoch
where e.run = ? and e.sequence = ? and k.frame < ? order by k.frame
"""


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("begin immediate")
    with connection:
        yield


def _keys(frame: Frame) -> list[tuple[bytes, bytes]]:
    """(interface, added public keys) of each interface with added peers."""
    return [
        (device.label.encode(errors="surrogatepass"), "\n".join(device.added).encode())
        for device in frame.devices
        if device.added
    ]


def _spooled(
    id: int, run: bytes, epoch: int, sequence: int, instant: int, crc: int, data: bytes
) -> SpooledFrame:
    intact = crc == _crc(data, run, epoch, sequence, instant)
    return SpooledFrame(id, UUID(bytes=run), epoch, sequence, instant / 1000, data, intact)


def _write_gaps(connection: sqlite3.Connection, gaps: Iterable[Gap]) -> None:
    connection.execute("delete from lost")
    connection.executemany(
        "insert into lost (started_at, ended_at, reason, snapshots) values (?, ?, ?, ?)",
        [
            (round(gap.started_at * 1000), round(gap.ended_at * 1000), gap.reason, gap.snapshots)
            for gap in gaps
        ],
    )


def _joined(gaps: list[Gap], new: Gap) -> list[Gap]:
    """The gaps with a new one, whose snapshots are added to a gap that continues for the same reason."""
    for place, gap in enumerate(gaps):
        if gap.reason == new.reason and not gap.ended_at and not new.ended_at:
            joined = replace(gap, snapshots=gap.snapshots + new.snapshots)
            return [*gaps[:place], joined, *gaps[place + 1 :]]
    return [*gaps, new]


def _crc(data: bytes, *about: object) -> int:
    """A checksum of the bytes and of the columns beside them."""
    return zlib.crc32(data, zlib.crc32(repr(about).encode()))
