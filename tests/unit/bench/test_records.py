"""The benchmark of the records: its generated snapshots, its contenders and queries, its limits and its
report."""

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
from bench.store.figures import Impact, Pipeline, Records, Result
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


def test_a_busy_gateway_changes_its_live_peers() -> None:
    """The counters of the live peers grow, a quarter of them renew their handshake, one in a hundred has
    another endpoint; the other peers do not change, and are the same objects."""
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


def test_the_peers_of_a_busy_gateway_are_realistic() -> None:
    """Each peer has its own key of 32 bytes, two allowed IPs, an endpoint, and counters of ten digits."""
    one = device(BusyGateway(70_000, 1.0).next())
    assert len({base64.b64decode(peer.public_key) for peer in one.peers}) == 70_000
    assert {len(base64.b64decode(peer.public_key)) for peer in one.peers} == {32}
    assert len({peer.allowed_ips for peer in one.peers}) == 70_000
    assert one.peers[65_536].allowed_ips == ("10.1.0.0/32", "fd00::1:0/128")
    assert all(peer.endpoint for peer in one.peers)
    assert {len(str(count)) for count in (*one.receive_bytes, *one.transmit_bytes)} == {10}


def test_the_same_seed_gives_the_same_snapshots() -> None:
    """Two runs of the benchmark write equal snapshots; another seed gives other snapshots."""
    first, second = BusyGateway(100, 0.5), BusyGateway(100, 0.5)
    assert [first.next() for _ in range(3)] == [second.next() for _ in range(3)]
    assert first.next() != BusyGateway(100, 0.5, seed=2).next()


@pytest.fixture(scope="module")
def _server() -> None:
    """Skips on a host without PostgreSQL."""
    if why := missing():
        pytest.skip(why)


@pytest.fixture(scope="module")
def written(_server: None) -> Iterator[Database]:
    """A database with ten snapshots of 40 peers, a fifth of them live, written by both contenders."""
    with running() as database:
        write(database, BusyGateway(40, 0.2), 10)
        yield database


def test_both_contenders_write_the_same_traffic(written: Database) -> None:
    """Each peer's bytes between the first and the last snapshot are equal in both tables, and `argus.sample`
    has a row for each change."""
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


def test_the_login_of_the_queries_is_only_a_reader(written: Database) -> None:
    """The login of the queries is no superuser, does not bypass row-level security, and sees no rows
    without a scope."""
    connection = written.connect(written.reader, "argus_reader")
    query = "select current_user::text, rolsuper or rolbypassrls from pg_roles where rolname = session_user"
    assert tuple(written.run(connection.fetch(query))[0]) == ("argus_reader", False)
    assert written.run(connection.fetchval("select count(*) from argus.peer")) == 0


def test_the_queries_answer_from_the_snapshots(written: Database) -> None:
    """Each query returns the rows that the snapshots give, also after the day is compacted."""
    org_id = written.run(written.connect(written.superuser).fetchval(ORG_ID, ORGANISATION))
    reader = Reader(written, org_id, START, START + 9 * INTERVAL)
    answers = reader.answers()
    assert {question: len(rows) for question, rows in answers.items()} == {
        "latest": 40,
        "active": 8,
        "bytes": 8,
        "history": 9,  # one of the ten queried peers is live
    }
    assert {name: len(times) for name, times in reader.times(2).items()} == dict.fromkeys(QUESTIONS, 2)
    assert compact(written) > 0
    assert reader.answers() == answers


@pytest.mark.usefixtures("_server")
def test_a_small_run_measures_every_part() -> None:
    """Every contender, query and stage has as many times as there were rounds, and all are positive."""
    records = measure.part(["records", "30", "1.0", "2", "4"])
    assert isinstance(records, Records)
    assert {name: len(times) for name, times in records.writes.items()} == {PRODUCT: 3, WIDE: 3}
    assert all(seconds > 0 for times in records.writes.values() for seconds in times)
    assert records.samples == 4 * 30
    assert set(records.sizes) == {"samples", "everything", "compacted", "wide"}
    pipeline = measure.part(["pipeline", "30", "1.0", "2"])
    assert isinstance(pipeline, Pipeline)
    assert {stage: len(times) for stage, times in pipeline.stages.items()} == dict.fromkeys(report.STAGES, 2)
    assert all(sum(stage) > 0 for stage in (pipeline.first.values(), pipeline.total))
    assert pipeline.frame_bytes > 30 * 8
    impact = measure.part(["impact", "30", "1.0", "1"])
    assert isinstance(impact, Impact)
    assert impact.recorded > 0
    assert all(min(times) > 0 for part in (impact.scrapes, impact.healthy) for times in part.values())


def made(rate: float, room: int, answer: float, total: float, wait: float) -> Result:
    """A result with these measurements. `rate`: peers per second ÷ those of wide rows; `room`: bytes per peer
    and snapshot; `answer`, `total`, `wait`: seconds."""
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
    stages = {stage: [total / len(report.STAGES)] for stage in report.STAGES}
    pipeline = Pipeline(verdicts.LARGEST, 0.2, {"write": 9.0}, stages, 1000)
    both = {"with": [wait], "without": [0.5]}
    impact = Impact(verdicts.LARGEST, 1.0, 10.0, 4, both, both, {"with": 2, "without": 1})
    return Result({}, "python -m bench", "", (records,), (pipeline,), (impact,))


@pytest.mark.parametrize(
    ("result", "kept"),
    [(made(1.5, 100, 0.04, 1.9, 0.09), True), (made(0.5, 130, 0.2, 2.1, 0.11), False)],
)
def test_measurements_are_compared_with_the_limits(result: Result, kept: bool) -> None:
    """Every limit is met by good measurements, and none by bad ones."""
    found = list(verdicts.verdicts(result))
    assert len(found) == 3 + 2 * len(QUESTIONS) + 2
    assert {one.subject for one in found if one.kept is not kept} == set()


def test_other_sizes_have_no_limits() -> None:
    """Measurements of other sizes are reported without limits."""
    result = made(1, 1, 1, 1, 1)
    smaller = dataclasses.replace(
        result,
        records=tuple(dataclasses.replace(one, peers=10) for one in result.records),
        pipelines=tuple(dataclasses.replace(one, peers=10) for one in result.pipelines),
        impacts=tuple(dataclasses.replace(one, peers=10) for one in result.impacts),
    )
    assert list(verdicts.verdicts(smaller)) == []
    assert "### Limits" not in report.report(smaller)


def test_the_report_has_every_measurement() -> None:
    """Each query and each stage has a line, and the host is named."""
    text = report.report(made(1.5, 100, 0.04, 1.9, 0.09))
    assert "PostgreSQL 15.1" in text
    for label in report.STAGES.values():
        assert f"| {label} |" in text
    for label in verdicts.QUERY_LABELS.values():
        assert f"| {label}; compacted |" in text
    assert "a snapshot every 10 s (4 recorded)" in text


def test_the_report_goes_between_the_lines_of_the_page() -> None:
    """The report replaces the marked part of docs/performance.md; the text around it does not change."""
    page = PAGE.read_text()
    written = put_into(page, "figures\n", report.BEGIN, report.END)
    assert written.startswith(page.partition(report.BEGIN)[0])
    assert written.endswith(page.partition(report.END)[2])


def test_without_postgresql_the_command_gives_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a host without PostgreSQL the command prints the reason and exits with 0."""
    monkeypatch.setattr(server, "missing", lambda: "it is only a test")
    assert command.main(["--only", "records"]) == 0
    output = capsys.readouterr()
    assert "it is only a test" in output.err
    assert "**The records were not measured: it is only a test.**" in output.out


def test_json_is_every_measurement(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--json` prints the measurements as JSON, by benchmark, and no report."""
    result = made(1.5, 100, 0.04, 1.9, 0.09)
    monkeypatch.setattr(records_run, "here", lambda *_: result)
    assert command.main(["--only", "records", "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert read == {"records": json.loads(json.dumps(dataclasses.asdict(result)))}
