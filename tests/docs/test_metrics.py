"""docs/metrics.md agrees with the code: families, states, reasons, sizes, and a query for each failure."""

from __future__ import annotations

import re
from base64 import b64encode
from pathlib import Path
from random import Random
from typing import get_args

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from exporter.directory.entry import Criticality, Directory
from exporter.errors import ReadError
from exporter.liveness import Expected, State
from exporter.metrics.declarations.exporter import EXPORTER_FAMILIES
from exporter.metrics.declarations.interfaces import INTERFACE_FAMILIES
from exporter.metrics.declarations.peers import (
    FIRST_SEEN,
    LIFETIME_FAMILIES,
    PEER_FAMILIES,
    SOME_PEERS_FAMILIES,
)
from exporter.metrics.declarations.recording import RECORDING_FAMILIES
from exporter.metrics.declarations.sites import SITE_FAMILIES
from exporter.metrics.gathering.inputs import Serving
from exporter.model import Device, Peer, Reading, Snapshot
from tests.kit.gateways import NOW, WG0, Exporter, Row, everything, history, with_peers
from tests.kit.pages import PAGES, fenced, names, promtool, rows

METRICS = PAGES["docs/metrics.md"]
FAMILIES = (
    *PEER_FAMILIES,
    FIRST_SEEN,
    *LIFETIME_FAMILIES,
    *SOME_PEERS_FAMILIES,
    *INTERFACE_FAMILIES,
    *SITE_FAMILIES,
    *EXPORTER_FAMILIES,
    *RECORDING_FAMILIES,
)
METRIC = re.compile(
    r"(?<![\w:])wireguard_(?:interface|peer|site|exporter)_\w*\b(?!:)"
)  # and none that is recorded
WRONG = {what: names(query)[0] for what, query in rows(METRICS, "what is wrong")}


def labels_on_page() -> dict[str, list[str]]:
    """The label names of each metric on the page that has everything."""
    found: dict[str, list[str]] = {}
    for family in text_string_to_metric_families(everything().decode()):
        for sample in family.samples:
            assert found.setdefault(sample.name, list(sample.labels)) == list(sample.labels)
    return found


def page_of(*snapshots: Snapshot, directory_good: bool = True) -> str:
    """The page after these snapshots, with the exporter's own families."""
    exporter = Exporter()
    for snapshot in snapshots:
        exporter.update(snapshot)
    serving = Serving(reload_success={"directory": directory_good})
    return b"".join(exporter.pieces(snapshots[-1], Directory(), serving=serving)).decode()


def test_every_family_is_documented_as_it_is() -> None:
    """The tables list the families of the code, in their order: name, type, labels and help text."""
    labels = labels_on_page()
    documented = [(*names(row[0]), row[1], names(row[2]), row[4]) for row in rows(METRICS, "metric")]
    assert documented == [(one.name, one.kind, labels[one.name], one.help) for one in FAMILIES]


def test_units_are_those_of_the_names() -> None:
    """Each family has a unit, which agrees with the end of its name."""
    for name, _, _, unit, _ in rows(METRICS, "metric"):
        stem = names(name)[0].removesuffix("_total")
        if stem.endswith("_timestamp_seconds"):
            assert unit == "UNIX seconds", name
        elif stem.endswith(("_bytes", "_packets", "_seconds")):
            assert unit == stem.rpartition("_")[2], name
        else:
            assert unit not in ("", "bytes", "seconds", "UNIX seconds"), name


def test_readme_lists_the_families_of_peers_and_interfaces() -> None:
    """The README's table has each family about peers and interfaces with its type, and no other family."""
    shown = {one: row[1] for row in rows(PAGES["README.md"], "metric") for one in spelled(names(row[0])[0])}
    assert shown.pop("wireguard_exporter_*") == ""
    assert shown == {family.name: family.kind for family in (*PEER_FAMILIES, *INTERFACE_FAMILIES)}


def spelled(name: str) -> list[str]:
    """`a_{b,c}` → `a_b`, `a_c`."""
    choices = re.search(r"\{([^}]*)\}", name)
    if not choices:
        return [name]
    return [one for word in choices[1].split(",") for one in spelled(name.replace(choices[0], word, 1))]


@pytest.mark.parametrize("page", sorted(PAGES))
def test_metrics_that_pages_name_exist(page: str) -> None:
    """Every metric a page names is one of the exporter's, or one of another exporter in docs/migrating.md."""
    known = {family.name for family in FAMILIES}
    others = {"wireguard_peer_last_handshake_seconds", "wireguard_peer_allowed_ips_info"}  # mdlayher's
    if page == "docs/migrating.md":
        known |= others
    for name in set(METRIC.findall(PAGES[page])):
        assert name in known or (name.endswith("_") and any(one.startswith(name) for one in known)), name


def test_states_are_documented() -> None:
    """The table of states has each state, and no other."""
    assert [names(state)[0] for state, _ in rows(METRICS, "state")] == [state.value for state in State]


def test_reasons_are_documented() -> None:
    """The table of reasons has each reason for which a reading can fail, and no other."""
    documented = [names(reason)[0] for reason, _ in rows(METRICS, "reason")]
    assert sorted(documented) == sorted(kind.reason for kind in ReadError.__subclasses__())


def test_values_of_labels_are_documented() -> None:
    """Each value of `expected` and `criticality` is on the page."""
    for value in (*get_args(Expected), *get_args(Criticality)):
        assert f"`{value}`" in METRICS


def test_numbers_of_series() -> None:
    """The numbers of series of a peer, an interface and a reading are as documented."""
    failing = Reading("netlink", "wg0", 0.1, "timeout", "no answer")
    peers: list[Row] = [(Peer("shaken"), 1, 0, 0), (Peer("never"), 0, 0, 0)]
    linked, bare = (
        Snapshot("gw", NOW, (device,)) for device in (with_peers(WG0, peers), Device("wg0", "kernel"))
    )
    unread = Snapshot("gw", NOW, (), (failing,))
    readings = [
        page_of(Snapshot("gw", NOW, (), (reading,))).count('source="netlink",interface="wg0"')
        for reading in (Reading("netlink", "wg0", 0.1), failing)
    ]
    assert [list(map(int, re.findall(r"\d+", counts))) for _, counts in rows(METRICS, "")] == [
        [page_of(linked).count(f'public_key="{name}"') for name in ("shaken", "never")],
        [
            page.count("\nwireguard_interface_")
            for page in (page_of(linked), page_of(bare), page_of(linked, unread))
        ],
        readings,
    ]


def test_size_of_a_page() -> None:
    """The documented bytes per peer, plain and compressed, are within 10 %."""
    match = re.search(r"about ([\d,]+) bytes of a page, or (\d+) with gzip", METRICS)
    assert match
    rng = Random(1)
    keys = [b64encode(rng.randbytes(32)).decode() for _ in range(1000)]
    configured = (("10.0.0.1/32", "fd00::1/128"), "192.0.2.1:51820", 25)
    peers: list[Row] = [
        (Peer(key, *configured), int(NOW) - rng.randrange(180), rng.randrange(10**9), rng.randrange(10**9))
        for key in keys
    ]
    snapshot = Snapshot("gw", NOW, (with_peers(WG0, peers),))
    exporter = Exporter()
    exporter.update(snapshot)
    for said, compressed in ((match[1], False), (match[2], True)):
        pieces = exporter.pieces(snapshot, Directory(), compressed=compressed)
        assert sum(map(len, pieces)) / len(peers) == pytest.approx(int(said.replace(",", "")), rel=0.1)


@pytest.mark.parametrize("page", sorted(page for page in PAGES if fenced(PAGES[page], "promql")))
def test_queries_parse(page: str, tmp_path: Path) -> None:
    """Every PromQL example parses."""
    rules = [
        {"record": f"example:{at}", "expr": text} for at, text in enumerate(fenced(PAGES[page], "promql"))
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "examples", "rules": rules}]}))
    promtool("check", "rules", file)


LISTED, GOOD = Reading("netlink", "", 0.1), Reading("netlink", "wg0", 0.1)
DENIED = Reading("netlink", "wg1", 0.1, "permission", "needs CAP_NET_ADMIN")
MISSING = Reading("netlink", "", 0.1, "module", "the kernel has no WireGuard")
WELL = Snapshot("gw", NOW, (WG0,), (LISTED, GOOD))
NOTHING = "readings fail, and no interface is read"
SOME = "some readings fail, others succeed"
SITUATIONS: dict[str, tuple[str, set[str]]] = {
    "all is well": (page_of(WELL), set()),
    "no permission": (page_of(Snapshot("gw", NOW, (), (LISTED, DENIED))), {"no permission", NOTHING}),
    "no module": (page_of(Snapshot("gw", NOW, (), (MISSING,))), {"no module", NOTHING}),
    "no interface": (page_of(Snapshot("gw", NOW, (), (LISTED,))), {"no interface, and no reading failed"}),
    "one of two": (page_of(Snapshot("gw", NOW, (WG0,), (LISTED, GOOD, DENIED))), {"no permission", SOME}),
    "everything at once": (
        page_of(*history()),
        {"no permission", "no module", SOME, "peers whose state is unknown"},
    ),
    "a mistake in a file": (
        page_of(WELL, directory_good=False),
        {"an error in a directory file or the web configuration"},
    ),
    "no exporter": ("", {"no exporter"}),
}


def test_queries_tell_failures_apart(tmp_path: Path) -> None:
    """In each situation, exactly the queries that describe it return a result."""
    assert set().union(*(answers for _, answers in SITUATIONS.values())) == {*WRONG}
    tests = [
        {
            "name": situation,
            "interval": "1m",
            "input_series": scraped(page),
            "promql_expr_test": [
                {
                    "expr": f"clamp_max(count({query}), 1)",
                    "eval_time": "0m",
                    "exp_samples": [{"labels": "{}", "value": 1}] if what in answers else [],
                }
                for what, query in WRONG.items()
            ],
        }
        for situation, (page, answers) in SITUATIONS.items()
    ]
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [], "tests": tests}))
    promtool("test", "rules", file)


def scraped(page: str) -> list[dict[str, str]]:
    """The series of a page as Prometheus stores them, for promtool; no page = the exporter is down."""
    found = [{"series": 'up{job="wireguard",instance="gw"}', "values": str(int(bool(page)))}]
    for line in page.splitlines():
        if not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            name, _, labels = series.partition("{")
            joined = f'{name}{{job="wireguard",instance="gw",{labels or "}"}'
            found.append({"series": joined, "values": value})
    return found
