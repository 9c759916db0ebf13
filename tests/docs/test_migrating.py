"""The configurations of docs/migrating.md load, and its rules and queries work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.config import keys, load
from exporter.metrics.declarations.mdlayher import MDLAYHER_FAMILIES
from exporter.metrics.declarations.mindflavor import MINDFLAVOR_FAMILIES
from tests.kit.directory import load_directory
from tests.kit.pages import promtool
from tests.kit.paths import PROJECT

PAGE = (PROJECT / "docs/migrating.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, without the indentation of a list."""
    fence = re.compile(rf"^( *)```{language}\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in fence.findall(PAGE)]


def yaml_blocks(key: str) -> list[str]:
    """The YAML blocks that have a top-level key."""
    found = [text for text in blocks("yaml") if key in yaml.safe_load(text)]
    assert found
    return found


@pytest.mark.parametrize("text", yaml_blocks("metrics"))
def test_configurations_load(text: str, tmp_path: Path) -> None:
    """Each configuration on the page is valid and selects a compatibility schema."""
    file = tmp_path / "argus-wg.yml"
    file.write_text(text)
    assert load(file).metrics.schema in ("mindflavor", "mdlayher")


def test_directory_file_loads(tmp_path: Path) -> None:
    """The directory file that replaces a peers.toml has its names."""
    (text,) = yaml_blocks("peers")
    file = tmp_path / "directory.yml"
    file.write_text(text)
    assert sorted(entry.name for entry in load_directory([file]).entries.values()) == ["bar", "foo"]


def test_configuration_keys_exist() -> None:
    """Every dotted key in the tables is a key of the configuration."""
    sections = {key.partition(".")[0] for key in keys() if "." in key}
    named = {
        key
        for key in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)(?::[^`]*)?`", PAGE)
        if key.partition(".")[0] in sections
    }
    assert named <= set(keys())
    assert {"metrics.schema", "metrics.mindflavor.remote_ip", "directory.wg_quick"} <= named


def test_every_compatible_family_is_in_the_tables() -> None:
    """Each family of either schema has a line in the tables of native names."""
    families = (*MINDFLAVOR_FAMILIES, *MDLAYHER_FAMILIES)
    assert len(families) == 10
    assert all(f"\n| `{family.name}` | `wireguard_" in PAGE for family in families)


def test_prometheus_takes_the_scrape_configurations(tmp_path: Path) -> None:
    """`promtool check config` accepts the relabelling."""
    for number, text in enumerate(yaml_blocks("scrape_configs")):
        file = tmp_path / f"{number}.yml"
        file.write_text(text)
        promtool("check", "config", file)


def test_prometheus_takes_the_queries(tmp_path: Path) -> None:
    """Each query parses."""
    queries = blocks("promql")
    assert queries
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    promtool("check", "rules", file)


def test_recording_rules_give_the_old_series(tmp_path: Path) -> None:
    """From native series of two gateways with the same peer, the rules create each gateway's old series with
    the peer's name, and the alert for old handshakes fires for the peer that never connected."""
    (rules,) = yaml_blocks("groups")
    alert = next(query for query in blocks("promql") if "or wireguard_latest_handshake_seconds" in query)
    groups: dict[str, Any] = yaml.safe_load(rules)
    groups["groups"][0]["rules"].append({"record": "late", "expr": alert})
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(groups))
    peer = 'interface="wg0",public_key="k"'
    native = {
        "wireguard_peer_transmit_bytes_total": (7, 9),
        "wireguard_peer_receive_bytes_total": (8, 10),
        "wireguard_peer_last_handshake_timestamp_seconds": (50, 0),
        "wireguard_peer_handshake_age_seconds": (10, None),
        "wireguard_peer_info": (1, 1),
    }
    series = [
        {
            "series": f'{name}{{instance="{instance}",{peer}{_named(name)}}}',
            "values": str(value),
        }
        for name, values in native.items()
        for instance, value in zip("ab", values, strict=True)
        if value is not None
    ]
    expected = {
        "wireguard_sent_bytes_total": (7, 9),
        "wireguard_received_bytes_total": (8, 10),
        "wireguard_latest_handshake_seconds": (50, 0),
        "wireguard_latest_handshake_delay_seconds": (10, None),
        "late": (None, 0),
    }
    tests = [
        {
            "expr": name,
            "eval_time": "0m",
            "exp_samples": [
                {"labels": f'{name}{{instance="{instance}",{peer},friendly_name="anna"}}', "value": value}
                for instance, value in zip("ab", values, strict=True)
                if value is not None
            ],
        }
        for name, values in expected.items()
    ]
    file = tmp_path / "test.yml"
    file.write_text(
        yaml.safe_dump(
            {
                "rule_files": ["rules.yml"],
                "evaluation_interval": "1m",
                "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": tests}],
            }
        )
    )
    promtool("test", "rules", file)


def _named(name: str) -> str:
    return ',peer="anna"' if name == "wireguard_peer_info" else ""
