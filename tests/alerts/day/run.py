"""Run the simulated day with rules and a configuration, and print the score.

    python -m tests.alerts.day.run promtool alerts 1

`alerts` is the folder with the rules and alertmanager.yml. Another number gives other times of the faults.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from tests.alerts.day.day import build_day
from tests.alerts.day.evaluate import firing
from tests.alerts.day.incidents import Score, score
from tests.alerts.day.mesh import JOB, MEGABYTE, STEPS, Mesh
from tests.alerts.day.notifications import Alertmanager, Notification
from tests.alerts.day.series import STEP, Series


def baselines(mesh: Mesh) -> list[Series]:
    """What the rules recorded on the days before: the busiest day of each peer."""
    return [
        Series(
            "peer_direction:wireguard_bytes_baseline:max",
            {
                "job": JOB,
                "instance": f"{tunnel.gateway}:9586",
                "interface": tunnel.interface,
                "public_key": tunnel.key,
                "direction": direction,
            },
            [tunnel.busiest * MEGABYTE],
        )
        for tunnel in mesh.tunnels
        if tunnel.busiest
        for direction in ("receive", "transmit")
    ]


def simulate(promtool: str, alerts: Path, seed: int = 1) -> Score:
    """The score of the rules and of alertmanager.yml in the folder `alerts`."""
    day = build_day(seed)
    rules = sorted(alerts.glob("rules/*.yml"))
    manager = Alertmanager(yaml.safe_load((alerts / "alertmanager.yml").read_text()))
    sent: list[Notification] = []
    states = firing(promtool, rules, list(day.mesh.series()), baselines(day.mesh), STEPS)
    for step, active in enumerate(states):
        sent += manager.advance(step * STEP, active)
    return score(day.incidents, sent)


def main() -> None:
    promtool, folder, *seed = sys.argv[1:]
    result = simulate(promtool, Path(folder), *map(int, seed))
    lines = [
        *(f"false: {receiver} {text}" for receiver, ones in result.false.items() for text in ones),
        *(f"missed: {name}" for name in result.missed),
        *(f"repeated: {name}" for name in result.repeated),
        result.line,
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
