"""The committed files are those that the code generates."""

from __future__ import annotations

from dashboards import generated
from tests.dashboards import grafana
from tests.kit.pages import PAGES


def test_files_are_what_the_code_generates() -> None:
    """The dashboards and docs/dashboards.md are up to date, and there is no other JSON file."""
    files = generated.files()
    assert {path for path in files if path.suffix == ".json"} == {*grafana.FILES}
    for path, text in files.items():
        assert path.read_text() == text, f"{path.name}: run python -m dashboards"


def test_the_page_shows_every_panel() -> None:
    """docs/dashboards.md has the title, description and queries of every panel."""
    page = PAGES["docs/dashboards.md"]
    for dashboard in grafana.DASHBOARDS.values():
        assert f"\n## {dashboard['title']}\n" in page
        for panel in grafana.panels(dashboard):
            assert f"\n**{panel['title']}.** {panel['description']}\n" in page
    for target in grafana.targets():
        assert target.text.strip() in page
