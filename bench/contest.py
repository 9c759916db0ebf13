"""Contenders take turns, so that whatever else the machine does hits all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Contender = Callable[[], float]  # does it once; the seconds that it took


def interleave(contenders: Mapping[str, Contender], rounds: int) -> dict[str, list[float]]:
    """The seconds of each contender, `rounds` times, in turn: a b c, a b c, …"""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            times[name].append(contender())
    return times


def after(prepare: Callable[[], None], contender: Contender) -> Contender:
    """The contender, with something done ahead of it each time that does not count."""

    def prepared() -> float:
        prepare()
        return contender()

    return prepared
