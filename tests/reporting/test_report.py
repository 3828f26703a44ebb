"""The terminal table and the HTML report, made only from a manifest."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from support.fitted_outputs import PLANS, fitted
from support.pages import Page, make_manifest

from gpuseg import formatting as fmt
from gpuseg.exports.model_card import model_card
from gpuseg.manifest import Manifest, Segment
from gpuseg.models.loading import load_output
from gpuseg.reporting import report
from gpuseg.reporting.terminal_table import segment_table, top_features
from gpuseg.reporting.view_models import segment_views


def rename_last_to_noise(manifest: dict[str, Any]) -> dict[str, Any]:
    manifest["segments"][-1]["segment"] = -1
    return manifest


def print_table(manifest: dict[str, Any], width: int = 80, n_features: int = 3) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, legacy_windows=False)
    console.print(segment_table(Manifest.from_json(manifest), n_features))
    return out.getvalue().splitlines()


def render_report(manifest: dict[str, Any]) -> str:
    return report.render_report(Manifest.from_json(manifest))


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (412.3, "412"),
        (1.2, "1.2"),
        (1.0, "1"),
        (-4.56, "−4.56"),
        (999.6, "1,000"),
        (1234567, "1,234,567"),
        (0.00012, "0.00012"),
        (0.0000123, "1.23e−5"),
        (2.5e15, "2.5e15"),
        (math.nan, "–"),
        (None, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
    ],
)
def test_number(x: float | None, text: str) -> None:
    assert fmt.number(x) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.1234, "12.3%"), (0.0, "0.0%"), (1e-6, "<0.1%"), (0.99999, ">99.9%"), (math.nan, "–")],
)
def test_percent(share: float | None, text: str) -> None:
    assert fmt.percent(share) == text


@pytest.mark.parametrize(
    ("deviation", "text"),
    [(1.84, "+1.8σ"), (-0.9, "−0.9σ"), (-0.01, "0.0σ"), (-1234.4, "−1,234σ"), (None, "–")],
)
def test_sigma(deviation: float | None, text: str) -> None:
    assert fmt.sigma(deviation) == text


def test_counts_spans_and_moments() -> None:
    assert [fmt.count_with(n, "row", "has", "have") for n in (1, 2)] == ["1 row has", "2 rows have"]
    assert [fmt.span(low, high) for low, high in (("2", "4"), ("0.1", "0.1"))] == ["2 to 4", "0.1"]
    assert fmt.count(1234567) == "1,234,567"
    assert [fmt.count(n, "segment") for n in (0, 1, 2)] == ["0 segments", "1 segment", "2 segments"]
    assert [fmt.duration(s) for s in (0.0123, 1.234, 303.0, 7500.0)] == [
        "12.3 ms",
        "1.23 s",
        "5 min 3 s",
        "2 h 5 min",
    ]
    assert fmt.duration(0.9999) == "1 s"
    assert fmt.duration(59.99) == "1 min 0 s"
    assert fmt.moment("2026-11-21T21:15:00+01:00") == "21 November 2026, 20:15 UTC"
    assert fmt.moment("yesterday") == "yesterday"
    assert [fmt.listing(items) for items in ([], ["a"], ["a", "b", "c"])] == ["", "a", "a, b and c"]


def test_top_features_take_the_largest_deviation_and_keep_the_order_in_ties() -> None:
    deviation = {"d": 1.0, "c": -2.0, "b": 2.0, "a": 0.1, "x": math.nan, "y": None}
    segment = Segment(segment=0, size=1, share=1.0, center={}, deviation=deviation, rule=None)
    assert top_features(segment, ["a", "b", "c", "d", "x", "y"], 3) == ["b", "c", "d"]
    assert top_features(segment, ["a", "c", "b", "d", "x", "y"], 2) == ["c", "b"]
    assert top_features(segment, ["x", "y", "a", "b"]) == ["b", "a"]


def test_segments_are_ordered_by_size_with_noise_last() -> None:
    manifest = rename_last_to_noise(make_manifest())
    assert [s.segment for s in Manifest.from_json(manifest).ordered_segments] == [2, 1, 0, -1]


def test_table_shows_the_features_that_distinguish_a_segment() -> None:
    manifest = make_manifest(2, ("spend", "orders"))
    manifest["segments"][0] |= {"center": {"spend": 412.3, "orders": 1.2}}
    manifest["segments"][0] |= {"deviation": {"spend": 1.84, "orders": -0.9}}
    text = "\n".join(print_table(manifest))
    assert "spend 412 (+1.8σ)" in text
    assert "orders 1.2 (−0.9σ)" in text
    assert "everyone" in text
    assert "spend 10 · orders 20" in text


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("name", ["spend", "far_too_long_" * 9, "顧客" * 30], ids=range(3))
def test_table_fits_its_width_and_shows_all_the_segments(width: int, name: str) -> None:
    manifest = make_manifest(12, tuple(f"{name}{i}" for i in range(9)))
    lines = print_table(manifest, width, n_features=4)
    assert max(map(cell_len, lines)) <= width
    rows = re.findall(r"(?m)^ *(\d+) +([\d,]+) +[\d.]+%", "\n".join(lines))
    assert rows == [(str(s), f"{1000 * (s + 1):,}") for s in range(11, -1, -1)]


def test_table_prints_markup_and_control_codes_as_text() -> None:
    manifest = make_manifest(2, ("[bold]", "[/red]", "\x1b[31mred\n"))
    text = "\n".join(print_table(manifest))
    assert "[bold] " in text
    assert "[/red] " in text
    assert "\x1b" not in text
    assert r"\x1b[31mred\n " in text


def test_table_takes_noise_one_segment_and_no_features() -> None:
    lines = print_table(rename_last_to_noise(make_manifest()))
    assert any(line.split()[:2] == ["noise", "4,000"] for line in lines)
    assert lines[0].strip() == "10,000 customers in 3 segments"
    assert print_table(make_manifest(1, ("spend",)))[0].strip() == "1,000 customers in 1 segment"
    assert print_table(make_manifest(), n_features=0)


def test_report_shows_every_segment_and_feature() -> None:
    manifest = make_manifest(5, ("spend", "orders_12m", "days_since_last_order"))
    manifest["warnings"] = ["something to know"]
    page = Page(render_report(manifest))
    assert all(page.text.count(name) >= 5 for name in manifest["features"])
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert {f"segment-{s}" for s in range(5)} <= set(ids)
    assert "15,000 customers from /data/customers were grouped into 5 segments" in page.text
    for text in ("something to know", "no GPU was found", "sha256:34cd", '"n_clusters": 5', "17"):
        assert text in page.text


def test_report_needs_nothing_from_elsewhere_and_is_accessible() -> None:
    html = render_report(make_manifest())
    page = Page(html)
    assert html.startswith("<!DOCTYPE html>")
    links = page.attributes("src", "href")
    assert all(link.startswith(("#", "data:")) for link in links)
    assert {link[1:] for link in links if link.startswith("#")} <= set(page.attributes("id"))
    assert not {"script", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    assert "url(" not in html
    assert "@import" not in html
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption")
    assert tags.count("h1") == 1
    assert all("scope" in attrs for tag, attrs in page.tags if tag == "th")
    assert all(a.get("aria-label") for _, a in page.tags if a.get("role") in ("img", "region"))


def add_category(manifest: dict[str, Any], name: str) -> None:
    """Turn a feature into one that is 1 for customers of a category and 0 for others."""
    manifest["features"][name] |= {"mean": 0.25, "category": f"{name} yes"}
    for segment in manifest["segments"]:
        segment["center"][name] = 0.125
        segment["quantiles"] = dict.fromkeys(manifest["features"], (0.0, 0.0, 0.0, 1.0, 1.0))


def test_categories_are_shown_as_shares_and_have_no_spread() -> None:
    manifest = make_manifest()
    assert "its mean is their share" not in render_report(manifest)
    add_category(manifest, "basket")
    page = render_report(manifest)
    assert "its mean is their share" in page
    assert page.count("<td>12.5%</td><td>25.0%</td>") == len(manifest["segments"])
    spread = re.findall(r'<table class="spread">(.*?)</table>', page, re.DOTALL)
    assert len(spread) == len(manifest["segments"])
    assert all(">spend<" in table and ">basket<" not in table for table in spread)
    lines = print_table(manifest, n_features=4)
    assert sum("basket 12.5%" in line for line in lines) == 4
    assert any("basket 25.0%" in line for line in lines)


def test_frequencies_and_dropped_rows_are_explained() -> None:
    manifest = make_manifest()
    usual = Page(render_report(manifest)).text
    assert "The value of" not in usual and "were dropped before" not in usual
    manifest["features"]["basket"]["is_frequency"] = True
    manifest["preparation"]["missing"] = "drop"
    text = Page(render_report(manifest)).text
    assert "The value of basket is the share" in text and "were dropped before" in text


@pytest.mark.parametrize(
    ("position", "text"),
    [(-0.1, "a"), (0.02, "a"), (0.3, "about a"), (0.5, "a to b"), (0.9, "about b"), (2.1, "c"),
     (None, "–")],
)  # fmt: skip
def test_a_position_is_shown_as_a_category(position: float | None, text: str) -> None:
    assert fmt.average(position, is_share=False, categories=("a", "b", "c")) == text


def test_categories_of_an_order_are_shown_everywhere() -> None:
    source = load_output(fitted("ordinal"))
    assert source.manifest is not None
    content = source.manifest.to_json()
    assert content["features"]["plan_or_none"]["categories"] == list(PLANS)
    content["features"]["plan_or_none"] |= {"missing": 3, "fill": 0.5}
    for segment in content["segments"]:
        segment["center"]["plan_or_none"] = 1.5
        segment["quantiles"]["plan_or_none"] = [0.0, 0.5, 1.0, 1.5, 2.0]
    manifest = Manifest.from_json(content)
    text = Page(render_report(content)).text
    assert f"{PLANS[1]} to {PLANS[2]}" in text and f"{PLANS[0]} to {PLANS[2]}" in text
    assert f"(filled with {PLANS[0]} to {PLANS[1]})" in text
    shown = segment_views(manifest)[0]
    spread = {each.feature: each for each in shown.spread}["plan_or_none"]
    assert (spread.median_text, spread.middle_half) == (PLANS[1], f"{PLANS[0]} to {PLANS[2]}")
    assert any(f"| plan\\_or\\_none | {name}" in model_card(source) for name in ("about", *PLANS))


@pytest.mark.parametrize(
    ("transformed", "subject"),
    [
        ((), None),
        (("orders",), " of orders"),
        (("orders", "spend"), " of spend and orders"),
        (("spend", "orders", "recency", "basket"), ""),
    ],
)
def test_table_says_which_averages_are_transformed(
    transformed: tuple[str, ...], subject: str | None
) -> None:
    manifest = make_manifest()
    for name in transformed:
        manifest["features"][name]["transform"] = "log1p"
    notes = [line.strip() for line in print_table(manifest) if line.strip().startswith("averages")]
    expected = f"averages{subject} are computed after log1p and converted back"
    assert notes == ([] if subject is None else [expected])


def test_report_of_transactions_names_the_lines() -> None:
    manifest = make_manifest()
    manifest["input"]["path"] = "_features"
    manifest["transactions"] = {
        "path": "lines.csv", "files": 1, "fingerprint": "sha256:ab", "snapshot": "2026-11-01",
        "distinct_counts": "exact", "joins": [],
        "quality": {"lines": 99, "customers": 10_000, "steps": []},
    }  # fmt: skip
    text = Page(render_report(manifest)).text
    assert "10,000 customers of the lines in lines.csv were grouped" in text


@pytest.mark.parametrize(
    ("smallest", "sizes"), [(12, "12 customers each"), (5, "5 to 12 customers each, half of")]
)
def test_sizes_of_other_segments_are_a_range_where_they_differ(smallest: int, sizes: str) -> None:
    manifest = make_manifest()
    manifest["other_segments"] = {
        "segments": 3, "customers": 36, "share": 0.1, "smallest": smallest, "largest": 12,
        "sizes": (12, 12, 12, 12, 12),
    }  # fmt: skip
    assert sizes in Page(render_report(manifest)).text


def test_folded_tables_scroll() -> None:
    manifest = make_manifest(names=tuple(f"f{i}" for i in range(9)))
    quantiles = dict.fromkeys(manifest["features"], (0.0, 2.0, 3.0, 4.0, 9.0))
    for segment in manifest["segments"]:
        segment["quantiles"] = quantiles
    page = render_report(manifest)
    folded = re.findall(r'</summary>\s*<div class="scroll"', page)
    assert len(folded) == page.count("<details>") == 2 * len(manifest["segments"])


def test_report_escapes_names_paths_and_warnings() -> None:
    evil = "<script>alert('1')</script>"
    manifest = make_manifest(2, (evil, '" onmouseover="x'))
    manifest["input"]["path"] = manifest["job"]["input"]["path"] = evil
    manifest["warnings"] = [evil]
    manifest["backend"]["reason"] = evil
    html = render_report(manifest)
    assert "<script" not in html
    page = Page(html)
    assert page.text.count(evil) >= 6
    assert not any("onmouseover" in attrs for _, attrs in page.tags)


def test_report_takes_noise_unknown_deviations_and_no_convergence() -> None:
    manifest = rename_last_to_noise(make_manifest())
    noise = manifest["segments"][-1]
    noise["deviation"] = dict.fromkeys(manifest["features"], math.nan)
    noise["center"] = dict.fromkeys(manifest["features"])
    manifest["result"]["converged"] = False
    manifest["input"]["rows_dropped"] = 1
    page = Page(render_report(manifest))
    assert "segment-noise" in page.attributes("id")
    assert "4,000 customers belong to no segment" in page.text
    assert "1 row of the input was left out" in page.text
    assert "stopped after 17 iterations" in page.text
    assert "nan" not in page.text.lower()


def test_facts_of_any_algorithm_are_listed_by_name_and_value() -> None:
    manifest = make_manifest()
    facts = {"box_size": 0.123456789, "n_boxes": 12345, "is_closed": True, "shape": "<round>"}
    skipped = {"nothing": None, "boxes": [[1, 2]], "table": {"a": 1}, "few": [1, 2]}
    manifest["result"] = {"algorithm": "boxes", "title": "Box cutting", "n_clusters": 4}
    manifest["result"] |= facts | skipped
    terms = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", render_report(manifest))
    assert terms[:5] == [
        ("Algorithm", "Box cutting"), ("Box size", "0.123457"), ("N boxes", "12,345"),
        ("Is closed", "yes"), ("Shape", "&lt;round&gt;"),
    ]  # fmt: skip
    assert not {"Iterations", "Nothing", "Boxes", "Table", "Few"} & {term for term, _ in terms}


def test_report_shows_a_sweep_and_streamed_rows() -> None:
    manifest = make_manifest()
    assert "Sweep" not in Page(render_report(manifest)).text
    manifest["sweep"] = [
        {"n_clusters": k, "inertia": inertia, "n_iter": 9, "converged": True}
        | {"smallest": 5, "thread_seconds": 0.5}
        for k, inertia in ((2, 412.3), (3, 256.0), (4, 123.4))
    ]
    manifest["executor"]["row_storage"] = {
        "mode": "streamed", "reason": "they would take <9 GiB>",
    }  # fmt: skip
    text = Page(render_report(manifest)).text
    assert "Sweep" in text
    assert "inertia by number of segments: 2: 412, 3: 256, 4: 123; shown here: 4" in text
    assert "streamed: they would take <9 GiB>" in text


def test_report_of_one_segment_in_one_feature() -> None:
    manifest = make_manifest(1, ("spend",))
    manifest["segments"][0]["deviation"]["spend"] = 0.0
    text = Page(render_report(manifest)).text
    assert "1 segment by 1 feature" in text
    assert "Close to the average in every feature." in text


def test_report_stays_small_and_scrolls_when_there_are_many_features() -> None:
    usual = render_report(make_manifest(20, tuple(f"a_realistic_name_{i}" for i in range(16))))
    assert len(usual.encode()) < 200_000
    many = render_report(make_manifest(3, tuple(f"f{i}" for i in range(25))))
    assert "scroll tall" in many
    assert "scroll tall" not in usual
