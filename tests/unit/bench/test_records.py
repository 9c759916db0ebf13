"""The benchmark of the records measures what it says: both contenders write the same snapshots, readers are
readers, and the figures become a report."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator

import pytest

from bench import __main__ as command
from bench.report import put_into
from bench.store import measure, report, server, sizes, verdicts
from bench.store import run as records_run
from bench.store.figures import Beside, Passage, Records, Result
from bench.store.reading import QUESTIONS, Reader
from bench.store.records import ORG_ID, compact, write
from bench.store.server import Database, missing, running
from bench.store.snapshots import INTERVAL, RENEWAL, START, BusyGateway
from bench.store.writing import ORGANISATION, PRODUCT, WIDE
from exporter.model import Device, Snapshot
from tests.kit.paths import PROJECT

PAGE = PROJECT / "docs" / "performance.md"


def device(snapshot: Snapshot) -> Device:
    (one,) = snapshot.devices
    return one


def test_a_gateway_at_work_changes_what_it_should() -> None:
    """The counters of so many peers grow, a quarter of them renew their handshake, a hundredth turn up
    elsewhere; nothing of the others is different, and they are the same objects."""
    gateway = BusyGateway(2000, 0.2)
    before, later = device(gateway.next()), device(gateway.next())
    grown = {n for n in range(2000) if later.receive_bytes[n] > before.receive_bytes[n]}
    assert grown == {n for n in range(2000) if later.transmit_bytes[n] > before.transmit_bytes[n]}
    assert len(grown) == 400
    moved = {n for n in range(2000) if later.peers[n] is not before.peers[n]}
    assert len(moved) == 4
    assert all(later.peers[n].endpoint != before.peers[n].endpoint for n in moved)
    renewed = {n for n in range(2000) if later.last_handshake[n] != before.last_handshake[n]}
    assert moved <= renewed <= grown
    assert len(renewed) == pytest.approx(400 / RENEWAL, rel=0.2)
    assert {later.last_handshake[n] for n in renewed} == {START + INTERVAL}


def test_a_gateway_at_work_is_plausible() -> None:
    """Each peer has a key of its own, of 32 bytes, two allowed IPs, an endpoint, ten digits of bytes."""
    one = device(BusyGateway(70_000, 1.0).next())
    assert len({base64.b64decode(peer.public_key) for peer in one.peers}) == 70_000
    assert {len(base64.b64decode(peer.public_key)) for peer in one.peers} == {32}
    assert len({peer.allowed_ips for peer in one.peers}) == 70_000
    assert one.peers[65_536].allowed_ips == ("10.1.0.0/32", "fd00::1:0/128")
    assert all(peer.endpoint for peer in one.peers)
    assert {len(str(count)) for count in (*one.receive_bytes, *one.transmit_bytes)} == {10}


def test_the_seed_decides() -> None:
    """Two runs are about the same snapshots."""
    first, second = BusyGateway(100, 0.5), BusyGateway(100, 0.5)
    assert [first.next() for _ in range(3)] == [second.next() for _ in range(3)]
    assert first.next() != BusyGateway(100, 0.5, seed=2).next()


@pytest.fixture(scope="module")
def _server() -> None:
    """Skips where there is no PostgreSQL."""
    if why := missing():
        pytest.skip(why)


@pytest.fixture(scope="module")
def written(_server: None) -> Iterator[Database]:
    """Ten snapshots of 40 peers, a fifth of them live, as both contenders wrote them."""
    with running() as database:
        write(database, BusyGateway(40, 0.2), 10)
        yield database


def test_both_contenders_hold_the_same(written: Database) -> None:
    """What each peer moved between the first snapshot and the last is the same in both tables, and the
    product has a row for whatever changed."""
    superuser = written.connect(written.superuser)

    def moved(query: str) -> dict[str, tuple[int, int]]:
        rows = written.run(superuser.fetch(query))
        return {key: (received, sent) for key, received, sent in rows}

    wide = moved(
        """select public_key, max(receive_bytes) - min(receive_bytes),
                  max(transmit_bytes) - min(transmit_bytes)
           from public.wide group by public_key"""
    )
    samples = moved(
        """select public_key, max(receive_total) - min(receive_total),
                  max(transmit_total) - min(transmit_total)
           from argus.sample join argus.peer using (peer_id) group by public_key"""
    )
    assert samples == wide
    assert sum(received > 0 for received, _ in wide.values()) == 8
    count = "select (select count(*) from public.wide), (select count(*) from argus.sample)"
    assert tuple(written.run(superuser.fetch(count))[0]) == (400, 40 + 9 * 8)
    everything = sizes.size(written, superuser, sizes.EVERYTHING)
    assert everything > sizes.size(written, superuser, sizes.SAMPLES) > 0


def test_readers_are_readers(written: Database) -> None:
    """Whoever asks is neither a superuser nor past row-level security, and sees nothing without a scope."""
    connection = written.connect(written.reader, "argus_reader")
    who = "select current_user::text, rolsuper or rolbypassrls from pg_roles where rolname = session_user"
    assert tuple(written.run(connection.fetch(who))[0]) == ("argus_reader", False)
    assert written.run(connection.fetchval("select count(*) from argus.peer")) == 0


def test_readers_ask_of_what_was_written(written: Database) -> None:
    """All questions are answered with what the snapshots hold, and a compacted day gives the same answers."""
    org_id = written.run(written.connect(written.superuser).fetchval(ORG_ID, ORGANISATION))
    reader = Reader(written, org_id, START, START + 9 * INTERVAL)
    answers = reader.answers()
    assert {question: len(rows) for question, rows in answers.items()} == {
        "latest": 40,
        "active": 8,
        "bytes": 8,
        "history": 9,  # one of the ten peers that are looked at is live
    }
    assert {name: len(times) for name, times in reader.times(2).items()} == dict.fromkeys(QUESTIONS, 2)
    assert compact(written) > 0
    assert reader.answers() == answers


@pytest.mark.usefixtures("_server")
def test_a_run_gives_sane_figures() -> None:
    """Each part, in small: every contender, question and stage took time, as often as it was asked to."""
    records = measure.part(["records", "30", "1.0", "2", "4"])
    assert isinstance(records, Records)
    assert {name: len(times) for name, times in records.writes.items()} == {PRODUCT: 3, WIDE: 3}
    assert all(seconds > 0 for times in records.writes.values() for seconds in times)
    assert records.samples == 4 * 30
    assert set(records.sizes) == {"samples", "everything", "compacted", "wide"}
    passage = measure.part(["passages", "30", "1.0", "2"])
    assert isinstance(passage, Passage)
    assert {stage: len(times) for stage, times in passage.stages.items()} == dict.fromkeys(report.STAGES, 2)
    assert all(sum(stage) > 0 for stage in (passage.first.values(), passage.whole))
    assert passage.frame_bytes > 30 * 8
    beside = measure.part(["beside", "30", "1.0", "1"])
    assert isinstance(beside, Beside)
    assert beside.recorded > 0
    assert all(min(times) > 0 for part in (beside.scrapes, beside.healthy) for times in part.values())


def made(rate: float, room: int, answer: float, whole: float, wait: float) -> Result:
    """A result in which these things are as told; `rate` is how many times as fast as wide rows."""
    kept = {question: [answer / 25 if question == "history" else answer] for question in QUESTIONS}
    records = Records(
        verdicts.PEERS,
        verdicts.SNAPSHOTS,
        1.0,
        "15.1",
        {PRODUCT: 2.0, WIDE: 0.1},
        {PRODUCT: [1 / rate], WIDE: [1.0]},
        {"samples": room * 2_000_000, "compacted": room * 500_000, "everything": 1, "wide": 1},
        2_000_000,
        1.0,
        {"raw": kept, "compacted": kept},
    )
    stages = {stage: [whole / len(report.STAGES)] for stage in report.STAGES}
    passage = Passage(verdicts.LARGEST, 0.2, {"write": 9.0}, stages, 1000)
    both = {"with": [wait], "without": [0.5]}
    beside = Beside(verdicts.LARGEST, 1.0, 10.0, 4, both, both, {"with": 2, "without": 1})
    return Result({}, "python -m bench", "", (records,), (passage,), (beside,))


@pytest.mark.parametrize(
    ("result", "kept"),
    [(made(1.5, 100, 0.04, 1.9, 0.09), True), (made(0.5, 130, 0.2, 2.1, 0.11), False)],
)
def test_limits_are_held_against_figures(result: Result, kept: bool) -> None:
    """Each limit is kept, or none is."""
    found = list(verdicts.verdicts(result))
    assert len(found) == 3 + 2 * len(QUESTIONS) + 2
    assert {one.subject for one in found if one.kept is not kept} == set()


def test_other_sizes_have_no_limits() -> None:
    """What the limits are not about is only reported."""
    result = made(1, 1, 1, 1, 1)
    smaller = dataclasses.replace(
        result,
        records=tuple(dataclasses.replace(one, peers=10) for one in result.records),
        passages=tuple(dataclasses.replace(one, peers=10) for one in result.passages),
        beside=tuple(dataclasses.replace(one, peers=10) for one in result.beside),
    )
    assert list(verdicts.verdicts(smaller)) == []
    assert "### Limits" not in report.report(smaller)


def test_the_report_tells_it_all() -> None:
    """Each question and each stage has its line, and where it was measured."""
    text = report.report(made(1.5, 100, 0.04, 1.9, 0.09))
    assert "PostgreSQL 15.1" in text
    for label in report.STAGES.values():
        assert f"| {label} |" in text
    for label in verdicts.ASKED.values():
        assert f"| {label}; compacted |" in text
    assert "a snapshot every 10 s (4 recorded)" in text


def test_the_report_goes_between_the_lines_of_the_page() -> None:
    """docs/performance.md has a place for the records, and what stands around it stays."""
    page = PAGE.read_text()
    written = put_into(page, "figures\n", report.BEGIN, report.END)
    assert written.startswith(page.partition(report.BEGIN)[0])
    assert written.endswith(page.partition(report.END)[2])


def test_without_a_server_it_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is no PostgreSQL, the command says so and succeeds."""
    monkeypatch.setattr(server, "missing", lambda: "it is only a test")
    assert command.main(["--only", "records"]) == 0
    output = capsys.readouterr()
    assert "it is only a test" in output.err
    assert "**Nothing was recorded: it is only a test.**" in output.out


def test_json_is_every_measurement(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--json` prints what was measured, by benchmark, and no report."""
    result = made(1.5, 100, 0.04, 1.9, 0.09)
    monkeypatch.setattr(records_run, "here", lambda *_: result)
    assert command.main(["--only", "records", "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert read == {"records": json.loads(json.dumps(dataclasses.asdict(result)))}
