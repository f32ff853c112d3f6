"""The Grafana dashboard asks for what a running server measures, and says what it shows."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from itertools import combinations
from typing import Any

import promql_parser
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import ROOT
from tests.integration.server import Server

DASHBOARD = json.loads((ROOT / "deployment" / "grafana" / "stable-diffusion.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TITLES = [panel["title"] for panel in PANELS]
# The scraper adds it.
SCRAPED_LABELS = {"instance"}


def queries(panel: dict[str, Any]) -> list[promql_parser.Expr]:
    """The panel's queries; Grafana's own variable for a range is no PromQL."""
    return [
        promql_parser.parse(target["expr"].replace("$__rate_interval", "1m"))
        for target in panel["targets"]
    ]


def selectors(query: promql_parser.Expr) -> list[promql_parser.VectorSelector]:
    found: list[promql_parser.VectorSelector] = []

    def enter(expression: promql_parser.Expr) -> bool:
        if isinstance(expression, promql_parser.VectorSelector):
            found.append(expression)
        return True

    promql_parser.walk(query, enter)
    return found


@pytest.fixture(scope="module")
def measured(bentoml_server: Server) -> dict[str, set[str]]:
    """The labels of every series that the server has after one picture, by name."""
    picture = {"prompt": "a red apple", "num_inference_steps": 2}
    assert bentoml_server.client.post("/txt2img", json=picture).status_code == 200
    labels: dict[str, set[str]] = defaultdict(set)
    for family in text_string_to_metric_families(bentoml_server.client.get("/metrics").text):
        for sample in family.samples:
            labels[sample.name] |= set(sample.labels) | SCRAPED_LABELS
    return labels


@pytest.mark.parametrize("panel", PANELS, ids=TITLES)
def test_every_query_is_about_what_is_measured(
    panel: dict[str, Any], measured: dict[str, set[str]]
) -> None:
    for query in queries(panel):
        asked = selectors(query)
        assert asked
        for selector in asked:
            assert selector.name in measured
            matched = {matcher.name for matcher in selector.matchers.matchers}
            assert matched <= measured[selector.name]
            assert "instance" in matched, "the variable of the dashboard selects nothing"


@pytest.mark.parametrize("panel", PANELS, ids=TITLES)
def test_every_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]


def test_titles_are_unique() -> None:
    assert len(set(TITLES)) == len(TITLES)


def test_it_can_be_imported_anywhere() -> None:
    """The data source is a variable everywhere, and no id of another Grafana is in it."""
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert {"datasource", "instance"} <= names
    sources = [panel["datasource"] for panel in PANELS]
    sources += [target["datasource"] for panel in PANELS for target in panel["targets"]]
    assert all(source["uid"] == "${datasource}" for source in sources)
    assert DASHBOARD["id"] is None
    assert "uid" not in DASHBOARD


def test_panels_do_not_cover_each_other() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for one, other in combinations((panel["gridPos"] for panel in DASHBOARD["panels"]), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above


def test_every_measurement_of_the_engine_is_shown(measured: dict[str, set[str]]) -> None:
    shown = {
        metric(str(selector.name))
        for panel in PANELS
        for query in queries(panel)
        for selector in selectors(query)
    }
    assert {metric(name) for name in measured if name.startswith("sd_")} <= shown


def metric(series: str) -> str:
    """The metric that a series belongs to: a histogram has several."""
    return re.sub("_(bucket|sum|count)$", "", series)
