"""A mirror that is loaded from the database, also after rows were deleted by hand."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from exporter.store.database.settings import Target
from tests.kit.gateways import key
from tests.kit.store.frames import START, RandomGateway
from tests.kit.store.mirror import CONFIG, Run, added, changed, device, frame
from tests.kit.store.records import Recorder, recording, records
from tests.kit.store.schema import ask, migrated


@pytest.fixture
def target(database: Target) -> Target:
    """A database with the schema in it."""
    return migrated(database)


@pytest.mark.parametrize("number", range(2))
def test_a_loaded_mirror_gives_the_same_rows(target: Target, number: int) -> None:
    """Of two gateways with the same history, one keeps its mirror and the other loads it often: their rows
    are equal, with frames that are not kept, over several days, and with peers that move between
    organisations."""
    seed = random.Random(number)
    gateway, run = RandomGateway(seed), Run("other")

    async def work(kept: Recorder) -> None:
        loaded = Recorder(target)
        try:
            for step in range(60):
                moment, is_kept = gateway.next(), seed.random() < 0.8
                moment = replace(moment, snapshot=replace(moment.snapshot, taken_at=START + step * 3600.0))
                made = run.frame(moment, kept=is_kept)
                if is_kept:
                    await kept.write(replace(made, gateway="kept"))
                    if seed.random() < 0.5:
                        loaded.writer.forget()
                    await loaded.write(replace(made, gateway="loaded"))
        finally:
            await loaded.close()

    recording(target, work)
    for organisation in ("acme", "other"):
        expected = records(target, "kept", organisation)
        assert expected.samples
        assert records(target, "loaded", organisation) == expected


def states(target: Target) -> list[tuple[object, ...]]:
    """(number of the key, total received bytes, whether it is present, organisation) of each peer."""
    rows = ask(
        target,
        "select p.public_key, s.receive_total, p.removed_at is null, o.name from argus.peer p "
        "join argus.peer_state s using (org_id, peer_id) join argus.organisation o using (org_id) "
        "order by p.peer_id",
    )
    numbers = {key(number): number for number in range(10)}
    return [(numbers[public_key], *values) for public_key, *values in rows]


def test_a_deleted_state_is_made_again(target: Target) -> None:
    """The totals of a peer whose state was deleted start at zero with its next change, and other peers
    lose nothing."""

    async def work(recorder: Recorder) -> None:
        await recorder.write(frame(1, device(**added((1, 0, 10, 0), (2, 0, 20, 0)))))
        await asyncio.to_thread(ask, target, "delete from argus.peer_state where receive_total = 10")
        assert await recorder.write(frame(2, device(**changed((0, 0, 15, 0), (1, 0, 25, 0)))))
        assert await recorder.write(frame(3, device(**changed((0, 0, 18, 0), (1, 0, 28, 0)))))

    recording(target, work)
    assert states(target) == [(1, 18, True, "acme"), (2, 28, True, "acme")]


def test_a_deleted_peer_is_new_with_the_next_keyframe(target: Target) -> None:
    """A deleted peer is recorded again with the next keyframe, not earlier, and its totals start at the
    current counters."""

    async def work(recorder: Recorder) -> None:
        await recorder.write(frame(1, device(**added((1, 0, 10, 0), (2, 0, 20, 0)))))
        for table in ("sample", "peer_config", "peer_state", "peer"):
            query = f"delete from argus.{table} where peer_id = (select min(peer_id) from argus.peer)"
            await asyncio.to_thread(ask, target, query)
        assert await recorder.write(frame(2, device(**changed((0, 0, 15, 0), (1, 0, 25, 0)))))
        assert await asyncio.to_thread(states, target) == [(2, 25, True, "acme")]
        keyframe = frame(3, device(**added((1, 0, 16, 0), (2, 0, 26, 0))), epoch=3)
        assert await recorder.write(keyframe)

    recording(target, work)
    assert states(target) == [(2, 26, True, "acme"), (1, 16, True, "acme")]


def test_a_deleted_configuration_is_recorded_with_the_next_keyframe(target: Target) -> None:
    """The totals of a peer whose configuration was deleted continue, and the next keyframe records its
    configuration."""

    async def work(recorder: Recorder) -> None:
        await recorder.write(frame(1, device(**added((1, 0, 10, 0)))))
        await asyncio.to_thread(ask, target, "delete from argus.peer_config")
        recorder.restart()
        assert await recorder.write(frame(2, device(**changed((0, 0, 15, 0)))))
        assert await recorder.write(frame(3, device(**added((1, 0, 16, 0))), epoch=3))

    recording(target, work)
    assert states(target) == [(1, 16, True, "acme")]
    ((start, end, config),) = records(target).configs["wg0", key(1)]
    assert (start, end, config) == (START * 1000 + 90_000, None, CONFIG)


def test_a_peer_that_moved_while_the_daemon_was_stopped(target: Target) -> None:
    """A peer that moved to another organisation while the daemon was stopped is removed from the former
    one by the next frame for it, without the bytes that the peer transferred since."""
    theirs = replace(CONFIG, organisation="rival")

    async def work(recorder: Recorder) -> None:
        await recorder.write(frame(1, device(**added((1, 0, 10, 0), config=theirs))))
        recorder.restart()
        await recorder.write(frame(2, device(**added((1, 0, 15, 0))), epoch=2))
        assert await asyncio.to_thread(states, target) == [(1, 10, True, "rival"), (1, 15, True, "acme")]
        another = added((2, 0, 20, 0), config=theirs, slot=1)
        columns = another | {"changed": [0, 1], "last_handshake": [0, 0], "receive": [17, 20]}
        await recorder.write(frame(3, device(**columns | {"transmit": [0, 0]}), epoch=2))

    recording(target, work)
    assert states(target) == [(1, 10, False, "rival"), (1, 17, True, "acme"), (2, 20, True, "rival")]
    assert records(target, organisation="rival").configs["wg0", key(1)][-1][1] == START * 1000 + 90_000


def test_a_gateway_name_that_postgresql_cannot_store(target: Target) -> None:
    """A gateway with a name that PostgreSQL cannot store is found after a restart under the escaped name."""

    async def work(recorder: Recorder) -> None:
        for number in (1, 2):
            recorder.restart()
            made = frame(number, device(**added((1, 0, 10 * number, 0))), epoch=number)
            assert await recorder.write(replace(made, gateway="gw\udcff"))

    recording(target, work)
    assert states(target) == [(1, 20, True, "acme")]
    assert [tuple(row) for row in ask(target, "select name from argus.gateway")] == [("gw\\udcff",)]
