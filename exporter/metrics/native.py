"""Pages in the native schema. What did not change since the last one is joined, not made again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from exporter.directory.entry import Directory
from exporter.metrics.families import (
    FIRST_SEEN,
    LIFETIME_FAMILIES,
    PEER_FAMILIES,
    DeviceText,
    Family,
    Gathered,
    RecordedTotals,
    Samples,
    gather,
    interface_samples,
    recorded,
    some_peers_samples,
    states,
)
from exporter.metrics.text import Joined, encoded, gzip, join, joined
from exporter.model import Snapshot
from exporter.observe import Observed


class NativePages:
    """Renders snapshots, one at a time, on one thread. Keeps the text of peers between them."""

    def __init__(
        self,
        organisation: str,
        totals: Callable[[], Mapping[str, RecordedTotals]] | None = None,
        *,
        lifetime: bool = False,
    ) -> None:
        """`totals`: what is recorded, by interface; None = nothing is. `lifetime`: tell the totals of each
        peer, too."""
        self._organisation = organisation
        self._totals = totals
        self._lifetime = bool(totals) and lifetime
        recorded = (FIRST_SEEN, *(LIFETIME_FAMILIES if lifetime else ())) if totals else ()
        self._families = (*PEER_FAMILIES, *recorded)
        self._texts: dict[str, DeviceText] = {}
        self._joined: dict[tuple[str, str], Joined] = {}

    def plain(self, gathered: list[Gathered], tables: Iterable[str], *, openmetrics: bool) -> Iterator[bytes]:
        """The page as it is read, piece by piece. `tables` are the families without peers, as text."""
        yield encoded("".join(tables))
        for family in self._families:
            title = family.head(openmetrics=openmetrics).encode()
            for one in gathered:
                for block, values in one.values(family.name):
                    if lines := block.text(family.name, values):
                        yield title + lines
                        title = b""
        if openmetrics:
            yield b"# EOF\n"

    def compressed(
        self, gathered: list[Gathered], tables: Iterable[str], *, openmetrics: bool
    ) -> list[bytes]:
        """The same page as the pieces of one gzip member."""
        runs = [joined(encoded("".join(tables)))]
        for family in self._families:
            peers = [run for one in gathered if (run := self._run(one, family)).size]
            if peers:
                runs += [joined(family.head(openmetrics=openmetrics).encode()), *peers]
        if openmetrics:
            runs.append(joined(b"# EOF\n"))
        return gzip(runs)

    def _run(self, one: Gathered, family: Family) -> Joined:
        key = one.device.label, family.name
        pieces = (block.deflated(family.name, values) for block, values in one.values(family.name))
        self._joined[key] = run = join(pieces, self._joined.get(key))
        return run

    def gather(
        self,
        snapshot: Snapshot,
        observed: Mapping[str, Observed],
        directory: Directory,
        generation: int,
    ) -> tuple[list[Gathered], dict[str, Samples]]:
        """(the peers of each device, the samples of the interface families)."""
        present = {device.label for device in snapshot.devices}
        for label in self._texts.keys() - present:
            del self._texts[label]
        for key in [key for key in self._joined if key[0] not in present]:
            del self._joined[key]
        gathered, counts = [], {}
        totals = self._totals() if self._totals else {}
        for device in snapshot.devices:
            text = self._texts.setdefault(device.label, DeviceText())
            text.update(device, directory, generation)
            seen = observed[device.label]
            counts[device.label] = states(device, text.blocks, seen, snapshot.taken_at)
            one = gather(device, text.blocks, seen, snapshot.taken_at)
            if self._totals:
                one.columns |= recorded(device.peers, totals.get(device.label), lifetime=self._lifetime)
            gathered.append(one)
        unread = {label: len(seen.peers) for label, seen in observed.items() if label not in present}
        samples = interface_samples(snapshot, counts, unread, self._organisation)
        return gathered, samples | some_peers_samples(gathered, observed)


def tables(samples: Mapping[str, Samples], families: Iterable[Family], *, openmetrics: bool) -> list[str]:
    """Families with few samples, as text."""
    return [family.text(samples.get(family.name, []), openmetrics=openmetrics) for family in families]
