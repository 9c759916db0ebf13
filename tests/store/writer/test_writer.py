"""The writer with a real database: every frame exactly once, whatever fails, as the rows that its snapshots
give."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from exporter.store.database.settings import Target
from exporter.store.errors import GatewayClaimed
from exporter.store.snapshot.frame import Frame, Gap
from tests.kit.gateways import key
from tests.kit.servers.postgres import PostgresServer
from tests.kit.servers.postgresproxy import Proxy
from tests.kit.store.frames import START, RandomGateway, Witness
from tests.kit.store.mirror import CONFIG, Run, added, changed, device, frame
from tests.kit.store.records import ELSEWHERE, Expected, Recorder, history, recording, records
from tests.kit.store.schema import ask, migrated

DAY = 86400.0


@pytest.fixture
def target(database: Target) -> Target:
    """A database with the schema in it."""
    return migrated(database)


def check(target: Target) -> None:
    """Checks conditions that hold for all rows of any history."""
    for query in (
        DECREASING_TOTALS,
        STATES_UNLIKE_THE_LAST_SAMPLE,
        OVERLAPPING_CONFIGS,
        PEERS_WITHOUT_OPEN_CONFIG,
        ROWS_OUTSIDE_A_DAY,
    ):
        assert ask(target, query) == [], query


DECREASING_TOTALS = """
select * from (select receive_total - lag(receive_total) over peer as received,
                      transmit_total - lag(transmit_total) over peer as sent
    from argus.sample window peer as (partition by org_id, peer_id order by taken_at)) steps
where received < 0 or sent < 0"""
STATES_UNLIKE_THE_LAST_SAMPLE = """
select s.peer_id from argus.peer_state s join lateral (
    select receive_total, transmit_total from argus.sample l
    where l.org_id = s.org_id and l.peer_id = s.peer_id order by taken_at desc limit 1) l on true
where (s.receive_total, s.transmit_total) <> (l.receive_total, l.transmit_total)"""
OVERLAPPING_CONFIGS = """
select * from (
    select valid_to, lead(valid_from) over (partition by org_id, peer_id order by valid_from) as next
    from argus.peer_config) c
where next is not null and (valid_to is null or valid_to > next)"""
PEERS_WITHOUT_OPEN_CONFIG = """
select p.peer_id from argus.peer p
join argus.interface i on i.org_id = p.org_id and i.interface_id = p.interface_id
left join argus.peer_config c on c.org_id = p.org_id and c.peer_id = p.peer_id and c.valid_to is null
where (p.removed_at is null and i.removed_at is null) <> (c.peer_id is not null)"""
ROWS_OUTSIDE_A_DAY = "select 1 from argus.sample_default union all select 1 from argus.snapshot_default"


@pytest.mark.parametrize("number", range(3))
def test_a_history_of_a_gateway_is_recorded_exactly(target: Target, number: int) -> None:
    """With restarts of the daemon, frames that are sent twice, connections that end, and a midnight, the rows
    equal those that the snapshots give."""
    seed, expected = random.Random(number), Expected("acme")

    async def work(recorder: Recorder) -> None:
        for moment, made in history(seed, 60):
            expected.record(moment, made)
            chance = seed.random()
            if chance < 0.1:
                recorder.restart()
            elif chance < 0.2:
                recorder.writer.forget()
            elif chance < 0.3:
                await recorder.terminate()
            assert await recorder.write_with_retries(made)
            if seed.random() < 0.2:
                seed.choice((recorder.restart, recorder.writer.skip))()
                assert not await recorder.write(made)

    recording(target, work)
    assert records(target) == expected.records
    check(target)


def test_frames_that_were_not_kept(target: Target) -> None:
    """The next kept frame records the changes of frames that were not kept, also of peers that appeared
    and disappeared in between."""
    seed, witness = random.Random(11), Witness("acme", 1)
    gateway, run = RandomGateway(seed), Run()

    async def work(recorder: Recorder) -> list[Frame]:
        written = list[Frame]()
        for left in reversed(range(100)):
            moment, is_kept = gateway.next(), not left or seed.random() < 0.5
            made = run.frame(moment, kept=is_kept)
            if written or is_kept:
                witness.see(moment)
            if is_kept:
                if seed.random() < 0.2:
                    recorder.writer.forget()
                assert await recorder.write(made)
                written.append(made)
        return written

    written, found = recording(target, work), records(target)
    assert [sequence for _, sequence, *_ in found.ledger] == [made.sequence for made in written]
    assert found.totals == witness.totals
    check(target)


def test_a_connection_that_is_cut_anywhere(postgres: PostgresServer, target: Target) -> None:
    """A frame is recorded once although the connection is cut after any number of bytes, also between COMMIT
    and its answer, and the frame is sent again."""
    seed, expected = random.Random(7), Expected("acme")
    with Proxy(postgres.socket) as proxy:

        async def work(recorder: Recorder) -> None:
            for moment, made in history(seed, 25):
                expected.record(moment, made)
                proxy.cut_after(seed.randrange(4_000))
                await recorder.write_with_retries(made)  # False: it was committed, and the answer was cut off

        recording(proxy.target(target), work)
        assert proxy.cuts > 5
    assert records(target) == expected.records
    check(target)


def test_a_name_belongs_to_one_installation(target: Target) -> None:
    """Another installation is refused with the name of the holder's host; ten minutes after the holder's last
    snapshot it takes the name over, with an audit event."""

    async def work(first: Recorder) -> None:
        second = Recorder(target, ELSEWHERE, "elsewhere")
        try:
            await first.write(frame(1, device(**added((1, 0, 1, 1)))))
            with pytest.raises(GatewayClaimed, match=r"gateway gw: here records under this name"):
                await second.write(frame(1, device(**added((1, 0, 9, 9))), run=ELSEWHERE, at=START + 60))
            assert await first.write(frame(2, device(**changed((0, 0, 2, 2)))))
            late = "update argus.gateway set held_at = held_at - interval '601 seconds'"
            await asyncio.to_thread(ask, target, late)
            assert await second.write(frame(1, device(**added((1, 0, 9, 9))), run=ELSEWHERE, at=START + 90))
        finally:
            await second.close()

    recording(target, work)
    (event,) = ask(target, "select actor, subject, detail from argus.audit_event")
    assert event["actor"] == "argus-wg on elsewhere"
    assert event["subject"] == "gw"
    assert event["detail"] == '{"to": "elsewhere", "from": "here"}'


def test_a_clearance_raised_by_another_session(target: Target) -> None:
    """The writer notices the raised clearance before it writes rows with a lower one."""

    async def work(recorder: Recorder) -> None:
        await recorder.write(frame(1, device(**added((1, 0, 1, 1)))))
        for table in ("gateway", "interface", "peer", "peer_state"):
            await asyncio.to_thread(ask, target, f"update argus.{table} set clearance = 3")
        assert await recorder.write(frame(2, device(**changed((0, 0, 5, 5)))))

    recording(target, work)
    samples = ask(target, "select clearance, receive_total from argus.sample order by taken_at")
    assert [tuple(row) for row in samples] == [(0, 1), (3, 5)]


def test_raising_a_clearance_lowers_none(target: Target) -> None:
    """An interface that was raised by hand keeps that clearance when a new configuration asks for less."""

    async def work(recorder: Recorder) -> None:
        await recorder.write(frame(1, device(**added((1, 0, 1, 1)))))
        await asyncio.to_thread(ask, target, "update argus.interface set clearance = 5")
        await recorder.write(frame(2, device(**added((1, 0, 2, 2))), epoch=2, clearance=3))

    recording(target, work)
    rows = ask(target, "select g.clearance, i.clearance from argus.gateway g, argus.interface i")
    assert tuple(rows[0]) == (3, 5)
    samples = ask(target, "select clearance from argus.sample order by taken_at")
    assert [row[0] for row in samples] == [0, 5]


def test_lost_snapshots_are_a_gap_of_the_gateway(target: Target) -> None:
    """Each of its organisations gets the gap, once even if the frame is sent again."""
    theirs = replace(CONFIG, organisation="rival")
    reporting = frame(2, gaps=[Gap(START + 30.0, START + 60.0, "spool-full", 3)])

    async def work(recorder: Recorder) -> None:
        await recorder.write(frame(1, device(**added((1, 0, 1, 1), config=theirs))))
        assert await recorder.write(reporting)
        recorder.restart()
        assert not await recorder.write(reporting)

    recording(target, work)
    gaps = ask(
        target,
        "select interface_id, extract(epoch from started_at), extract(epoch from ended_at), reason, "
        "snapshots from argus.gap order by org_id",
    )
    assert [tuple(row) for row in gaps] == [(None, START + 30, START + 60, "spool-full", 3)] * 2


def test_a_raised_clearance_is_audited(target: Target) -> None:
    """A clearance raised by the directory holds for later samples, and one audit event lists the peers."""
    secret = replace(CONFIG, clearance=4)

    async def work(recorder: Recorder) -> None:
        await recorder.write(frame(1, device(**added((1, 0, 1, 1), (2, 0, 1, 1)))))
        configured = device(configured=[(1, secret)], **changed((0, 0, 2, 2), (1, 0, 2, 2)))
        await recorder.write(frame(2, configured))

    recording(target, work)
    samples = ask(target, "select clearance from argus.sample order by taken_at, peer_id")
    assert [row[0] for row in samples] == [0, 0, 0, 4]
    (event,) = ask(target, "select action, subject, detail::text from argus.audit_event")
    assert (event["action"], event["subject"]) == ("clearance-raised", "gw/wg0")
    assert key(2) in event["detail"]
    assert key(1) not in event["detail"]


def test_peers_of_several_organisations(target: Target) -> None:
    """Each organisation has its own gateway row, snapshots and peers; a peer that moves is removed from one
    and new in the other."""
    theirs = replace(CONFIG, organisation="rival")

    async def work(recorder: Recorder) -> None:
        await recorder.write(frame(1, device(**added((1, 0, 10, 10), (2, 0, 20, 20)))))
        await recorder.write(frame(2, device(configured=[(1, theirs)], **changed((1, 0, 25, 25)))))

    recording(target, work)
    ledgers = "select name, count(*) from argus.snapshot join argus.organisation using (org_id) group by 1"
    assert {tuple(row) for row in ask(target, ledgers)} == {("acme", 2), ("rival", 1)}
    rows = ask(
        target,
        "select o.name, p.public_key, p.removed_at is null, s.receive_total from argus.peer p "
        "join argus.organisation o using (org_id) join argus.peer_state s using (org_id, peer_id) "
        "order by 1, s.receive_total",
    )
    assert [tuple(row) for row in rows] == [
        ("acme", key(1), True, 10),
        ("acme", key(2), False, 20),
        ("rival", key(2), True, 25),
    ]


def test_a_clock_that_is_set_back_by_days(target: Target) -> None:
    """Two snapshots of one instant give two rows of `argus.snapshot` and one sample with the larger
    totals, and the state keeps the instant of the latest sample."""

    async def work(recorder: Recorder) -> None:
        await recorder.write(frame(1, device(**added((1, 0, 100, 100))), at=START))
        await recorder.write(frame(2, device(**changed((0, 0, 250, 250))), at=START + 2 * DAY))
        recorder.writer.skip()
        await recorder.write(frame(3, device(**changed((0, 0, 300, 300))), at=START))

    recording(target, work)
    assert ask(target, "select count(*) from argus.snapshot")[0][0] == 3
    samples = ask(target, "select receive_total from argus.sample order by taken_at")
    assert [row[0] for row in samples] == [300, 250]
    state = ask(target, "select extract(epoch from taken_at)::bigint, receive_total from argus.peer_state")
    assert [tuple(row) for row in state] == [(START + 2 * DAY, 300)]


def test_each_day_has_its_partition_and_a_row_for_each_peer(target: Target) -> None:
    """The first snapshot of a day creates the partition, and gives unchanged peers a sample as well."""

    async def work(recorder: Recorder) -> None:
        await recorder.write(frame(1, device(**added((1, 0, 1, 1), (2, 0, 1, 1))), at=START))
        await recorder.write(frame(2, device(**changed((0, 0, 2, 2))), at=START + DAY))

    recording(target, work)
    samples = ask(
        target,
        "select active from argus.sample where taken_at > to_timestamp($1) order by peer_id",
        START + 1,
    )
    assert [row[0] for row in samples] == [True, False]
    assert ask(target, ROWS_OUTSIDE_A_DAY) == []


def test_a_frame_with_an_unknown_slot(target: Target) -> None:
    """A frame with an unknown slot raises LookupError, nothing of it is written, and the next frame is
    written."""

    async def work(recorder: Recorder) -> None:
        await recorder.write(frame(1, device(**added((1, 0, 1, 1)))))
        with pytest.raises(LookupError):
            await recorder.write(frame(2, device(**changed((7, 0, 2, 2)))))
        assert await recorder.write(frame(3, device(**changed((0, 0, 3, 3)))))

    recording(target, work)
    assert [row[0] for row in ask(target, "select sequence from argus.snapshot order by 1")] == [1, 3]
