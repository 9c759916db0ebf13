"""Evaluation of the rules on a day of series, with promtool: which alerts fire at each time.

promtool evaluates all groups at the same interval. Therefore the groups with an interval of 5 minutes or
an hour are evaluated every 5 minutes in a run of their own, together with the recorded series that they read.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.alerts.day.notifications import Alert
from tests.alerts.day.series import STEP, Series

FIRING = 'ALERTS{alertstate="firing", severity!="none"}'
SLOW = 300  # seconds, the interval of the groups about volumes and habits
NEEDED = ("argus-wireguard-thresholds", "argus-wireguard-peers", "argus-wireguard-throughput")
PATIENCE = 900.0  # seconds; about a minute is normal
UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
ANSWER = re.compile(r"time: (\w+),\n\s+exp: .*\n\s+got: (.*)")
LABELS = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Group = dict[str, Any]


def firing(
    promtool: str, rules: Sequence[Path], series: Sequence[Series], baselines: Sequence[Series], steps: int
) -> list[set[Alert]]:
    """For each step of 30 seconds the alerts that fire, as sets of labels.

    `baselines` has recorded series of the days before, of one sample each.
    """
    groups = [group for file in rules for group in yaml.safe_load(file.read_text())["groups"]]
    slow = [group for group in groups if group.get("interval") in ("5m", "1h")]
    needed = [group for group in groups if group["name"] in NEEDED]
    quick = [group for group in groups if group not in slow]
    kept = [Series(one.name, one.labels, [*one.values] * (steps + 1)) for one in baselines]
    often = _run(promtool, quick, [*series, *kept], STEP, steps)
    seldom = _run(promtool, [*needed, *slow], [*series, *baselines], SLOW, steps * STEP // SLOW)
    slow_names = {rule["alert"] for group in slow for rule in group["rules"] if "alert" in rule}
    return [
        {alert for alert in often[step] if dict(alert)["alertname"] not in slow_names}
        | {alert for alert in seldom[step * STEP // SLOW] if dict(alert)["alertname"] in slow_names}
        for step in range(steps + 1)
    ]


def _run(
    promtool: str, groups: Sequence[Group], series: Sequence[Series], interval: int, steps: int
) -> list[set[Alert]]:
    """The alerts at each step of `interval` seconds.

    promtool prints the samples of a query that were not expected, which are all of them.
    """
    first = [group for name in NEEDED for group in groups if group["name"] == name]
    order = [*first, *(group for group in groups if group not in first)]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump({"groups": order}, file, width=100000)
        file.flush()
        lines = [
            f"rule_files: [{file.name}]",
            f"evaluation_interval: {interval}s",
            "group_eval_order: [" + ", ".join(group["name"] for group in order) + "]",
            "tests:",
            f"- interval: {STEP}s",
            "  input_series:",
            *(f"  - {{series: '{one.selector}', values: '{one.notation}'}}" for one in series),
            "  promql_expr_test:",
            *(f"  - {{expr: '{FIRING}', eval_time: {step * interval}s}}" for step in range(steps + 1)),
        ]
        done = subprocess.run(
            [promtool, "test", "rules", "/dev/stdin"],
            input="\n".join(lines),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    printed = done.stdout + done.stderr
    assert "err:" not in printed, printed[:2000]
    assert "WARNING" not in printed, printed[:2000]
    answers = {_seconds(time): answer for time, answer in ANSWER.findall(printed)}
    return [_alerts(answers.get(step * interval, "")) for step in range(steps + 1)]


def _alerts(answer: str) -> set[Alert]:
    return {
        frozenset(
            (name, value)
            for name, value in LABELS.findall(labels)
            if name not in ("alertstate", "__name__") and value
        )
        for labels in re.findall(r"\{(.*?)\} 1E\+00", answer)
    }


def _seconds(text: str) -> int:
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([dhms])", text))
