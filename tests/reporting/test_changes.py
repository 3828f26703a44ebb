"""What has changed since the last run: in the reports, and in the terminal."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from fuzzing.pages import shown_table
from support.errors import raises
from support.pages import Page, make_manifest, make_scores_manifest
from support.refreshed_outputs import (
    NAMES,
    definition,
    drift,
    event,
    feature_drift,
    history,
    migration,
    overlap,
    refresh,
)

from gpuseg.drift_record import Alarm
from gpuseg.manifest import Manifest, ScoresManifest
from gpuseg.refresh_record import Refresh
from gpuseg.reporting.changes_view import changes_view, events_by_level
from gpuseg.reporting.drift_table import drift_tables
from gpuseg.reporting.drift_view import in_a_sentence
from gpuseg.reporting.flow_figure import flow_view
from gpuseg.reporting.flow_layout import (
    LINE_HEIGHT,
    MAX_SEGMENTS,
    CustomerFlow,
    flow_layout,
    folded,
)
from gpuseg.reporting.history_view import history_view
from gpuseg.reporting.report import render_report
from gpuseg.reporting.scores_report import render_scores_report
from gpuseg.reporting.svg_element import fitting, text_width
from gpuseg.reporting.terminal_changes import changes_in_words


def manifest_of(n_segments: int = 4, **parts: Any) -> Manifest:
    content = make_manifest(n_segments)
    for segment in content["segments"]:
        segment["name"] = NAMES[segment["segment"] % len(NAMES)]
    return Manifest.from_json({**content, **parts})


def flows_of(n_segments: int, came: int = 50, left: int = 30) -> list[CustomerFlow]:
    return [CustomerFlow(*cell) for cell in migration(overlap(n_segments), came, left)["cells"]]


def tables(html: str, caption: str) -> str:
    """Return the table of the page with that caption."""
    all_tables = re.findall(r"<table.*?</table>", html, re.DOTALL)
    return next(table for table in all_tables if f">{caption}" in table)


def test_a_run_that_continues_none_has_no_section() -> None:
    manifest = Manifest.from_json(make_manifest())
    assert changes_view(manifest) is None
    assert "Since the last run" not in render_report(manifest)
    assert changes_in_words(manifest) == []


def test_the_section_says_mode_reason_events_and_both_names() -> None:
    manifest = manifest_of(refresh=refresh(), drift=drift(), history=history())
    html = render_report(manifest)
    page = Page(html)
    for text in (
        "continues run 20260801T060000-aaaaaa in out/2026-07",
        "mode warm, chosen automatically: the mean squared distance rose by 12%",
        "Split: 3 to 3, 4.",
        "3 segments survived: 0, 1 and 2.",
        "Segment 1 was “few orders” and is “long inactive” now.",
        "Its name was “few orders” before.",
        "180 rows (4.5%)",
        "180 customers (4.5%)",
        "200 customers are new, and 120 customers are no longer there.",
    ):
        assert text in page.text, text
    assert page.text.index("Split: 3") < page.text.index("Emerged:") < page.text.index("survived:")
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption")
    assert "script" not in tags and "url(" not in html
    pictures = [attrs for tag, attrs in page.tags if tag == "svg" and "aria-hidden" not in attrs]
    assert all(a.get("role") == "img" and a.get("aria-label") for a in pictures)
    described = {a["aria-describedby"] for a in pictures if "aria-describedby" in a}
    assert described and described <= set(ids)
    assert {link[1:] for link in page.attributes("href") if link.startswith("#")} <= set(ids)


def test_a_page_that_is_refreshed_escapes_what_comes_from_the_data() -> None:
    bad = "<script>alert(1)</script>\u202e"
    events = [{**event("merged", [0, 1], [0], 5), "sentence": f"{bad} merged"}]
    manifest = manifest_of(
        refresh=refresh(
            from_path=bad, reason=bad, definitions=[definition(overlap(4), events)],
            previous_names={"0": bad},
        ),
        drift=drift(features=[feature_drift(bad, 0.5)], n_features=1),
        history=[{**each, "sizes": {"9": 2}, "names": {"0": bad, "9": bad}} for each in history()],
    )  # fmt: skip
    html = render_report(manifest)
    assert "<script" not in html and "\u202e" not in html
    Page(html)


def test_survivors_are_one_sentence_and_levels_have_their_lines() -> None:
    survivors = [event("survived", [i], [i], 9) for i in range(40)]
    merged = event("merged", [40, 41], [42], 7)
    levels = [
        definition(overlap(2), [*survivors, merged]),
        definition(overlap(2), survivors, "segment_2"),
    ]
    fine, coarse = events_by_level(Refresh.from_json(refresh(definitions=levels)))
    assert fine.sentences[0] == "Merged: 40, 41 to 42."
    assert fine.sentences[1].startswith("40 segments survived: 0, 1, 2,")
    assert fine.sentences[1].endswith("29 and 10 more.")
    assert (coarse.column, coarse.sentences) == ("segment_2", ["All 40 segments survived."])


def test_a_layout_of_15_by_15_has_room_for_every_label_and_adds_up() -> None:
    flows = flows_of(15)
    layout = flow_layout(flows)
    assert len(layout.left) == len(layout.right) == 16
    for side in (layout.left, layout.right):
        assert sum(band.customers for band in side) == sum(flow.customers for flow in flows)
        assert all(band.height >= max(LINE_HEIGHT, band.thickness) for band in side)
        assert all(a.top + a.height <= b.top for a, b in itertools.pairwise(side))
        assert side[-1].segment is None
        drawn = {ribbon.flow[side is layout.right] for ribbon in layout.ribbons}
        assert drawn == {band.segment for band in side}
    assert {r.flow for r in layout.ribbons} | set(layout.merged) == set(flows)
    assert len(layout.ribbons) + len(layout.merged) == len(flows)
    for side, i in ((layout.left, 0), (layout.right, 1)):
        for band in side:
            shown = sum(r.flow.customers for r in layout.ribbons if r.flow[i] == band.segment)
            assert shown + band.merged == band.customers


def test_labels_of_15_by_15_fit_beside_the_bars() -> None:
    names = {i: "顧客" * 20 if i % 2 else "WWW mmm @@@ " * 9 for i in range(15)}
    view = flow_view(flows_of(15), names, names, "customer")
    assert view is not None
    labels = re.findall(r'<text x="(\d+)" y="([\d.]+)" text-anchor="(\w+)".*?</text>', view.figure)
    assert len(labels) == 32
    for anchor in ("start", "end"):
        heights = [float(y) for _, y, side in labels if side == anchor]
        assert all(below - above >= LINE_HEIGHT for above, below in itertools.pairwise(heights))
    texts = re.findall(r"<text x=.*?</text>", str(view.figure))
    plain = [re.sub("<.*?>", "", text) for text in texts]
    assert max(map(text_width, plain)) <= 275 - 8
    assert view.total == sum(row.customers for row in view.rows) + view.rest


def test_small_segments_beyond_the_largest_are_put_together() -> None:
    flows = [CustomerFlow(i, i + 1, 10 + i) for i in range(60)] + [
        CustomerFlow(-1, 3, 2),
        CustomerFlow(None, 2, 1),
    ]
    few = folded(flows)
    assert sum(flow.customers for flow in few) == sum(flow.customers for flow in flows)
    ends = {flow.before for flow in few} | {flow.now for flow in few}
    assert len(ends) <= 2 * MAX_SEGMENTS + 3 and {-2, -1, None} <= ends
    assert flow_view([], {}, {}, "row") is None
    one = flow_layout([CustomerFlow(0, 0, 1)])
    assert len(one.ribbons) == 1 and not one.merged


def test_texts_are_cut_where_their_room_ends() -> None:
    assert fitting("short", 100) == "short"
    cut = fitting("a long name of a segment", 90)
    assert cut.endswith("…") and text_width(cut) <= 90 and len(cut) > 5


def test_without_ids_the_picture_is_of_the_definitions() -> None:
    cells = [[0, 0, 50, 0], [0, 1, 40, 3], [1, 1, 10, 0]]
    changed = refresh(
        migration=None, no_migration="the older output has no ids", definitions=[definition(cells)]
    )
    page = Page(render_report(manifest_of(refresh=changed)))
    assert "It is not known how customers moved: the older output has no ids." in page.text
    assert "How the definition moved" in page.text and "40 rows (40.0%)" in page.text
    assert "The number is of the rows of today" in page.text
    assert "No longer there" not in page.text


def test_drift_is_sorted_marked_in_words_and_folded() -> None:
    html = render_report(manifest_of(drift=drift(n_features=20)))
    assert "Since the last run" not in html and "All runs so far" not in html
    table = tables(html, "Drift of the features")
    assert re.findall(r"feature_<wbr>(\d+)</th>", table) == [str(i) for i in range(19, 7, -1)]
    rows = re.findall(
        r'feature_<wbr>(\d+)</th>.*?<td class="text verdict(?: beyond)?">(\w+)<', table
    )
    assert {int(i): word for i, word in rows} == {
        i: "beyond" if 0.04 * i > 0.25 else "within" for i in range(8, 20)
    }
    text = Page(table).text
    assert "0.76" in text and "chance 0.002" in text and "1.0% → 2.0%" in text and "1.5σ" in text
    assert "8 other features" in html
    categories = Page(tables(html, "Drift of the categories")).text
    assert "others: 10.0%, now 30.0%" in categories
    assert "1.1% of the customers, such as family" in categories
    segments = Page(tables(html, "Drift of the segments")).text
    assert "1.1 → 1.5" in segments and "0: high spend" in segments


def test_history_has_a_line_for_each_segment_and_each_measure() -> None:
    runs = history(6)
    del runs[-1]["sizes"]["2"]
    runs[-1]["sizes"]["9"] = 77
    html = render_report(manifest_of(3, refresh=refresh(), history=runs))
    page = Page(html)
    labels = [str(a["aria-label"]) for _, a in page.tags if a.get("class") == "figure spark"]
    (share,) = [label for label in labels if label.startswith("Share of segment 9")]
    assert share.count("none") == 6
    assert any(label.startswith("Mean squared distance by run: 1.4, 1.5,") for label in labels)
    assert "until 20" in page.text and "since 20" in page.text
    del runs[0]["sizes"]["2"]
    lines = history_view(manifest_of(3, history=runs).history)
    assert lines is not None
    (gone,) = [line for line in lines.segments if line.title.startswith("2 ")]
    assert re.match(r"since \S+; until ", gone.remark)
    table = Page(tables(html, "All runs")).text
    assert all(run["run_id"] in table for run in runs)


def test_scored_rows_have_drift_and_changes_as_well() -> None:
    content = {
        **make_scores_manifest(),
        "drift": drift(3),
        "refresh": refresh(mode="score", definitions=[]),
    }
    page = Page(render_scores_report(ScoresManifest.from_json(content)))
    assert "Drift since the fit" in page.text and "Since the last run" in page.text
    assert "they moved because their values changed" in page.text
    assert "0 rows (0.0%)" in page.text and "180 customers (4.5%)" in page.text
    assert len(page.attributes("id")) == len(set(page.attributes("id")))


def test_drift_has_the_names_of_the_older_segments() -> None:
    manifest = manifest_of(refresh=refresh(), drift=drift(), history=history())
    table = tables(render_report(manifest), "Drift of the segments")
    assert "1: few orders" in table and "1: long inactive" not in table


def test_the_terminal_has_events_movement_and_drift() -> None:
    manifest = manifest_of(refresh=refresh(), drift=drift(n_features=9), history=history())
    lines = changes_in_words(manifest)
    text = "\n".join(lines)
    assert lines[0].startswith("continues  20260801T060000-aaaaaa (warm: ")
    assert "events     Split: 3 to 3, 4." in lines
    assert "names      1: few orders → long inactive" in lines
    assert "180 rows (4.5%)" in text and "200 came, 120 left" in text
    assert "2 measures are beyond their thresholds" in text
    calm = manifest_of(drift=drift(n_features=2, categories=[]))
    assert changes_in_words(calm) == [
        "drift      no alarm; largest PSI: feature_1 0.04 and feature_0 0"
    ]


def test_records_that_do_not_agree_are_refused_and_no_page_fails_on_empty_ones() -> None:
    with raises("manifest.invalid"):
        manifest_of(history=[{**history(1)[0], "sizes": {"x": 1}}])
    with raises("manifest.invalid"):
        manifest_of(drift=drift(features=[feature_drift("spend", 0.1, edges=[1.0])]))
    nothing = definition([[0, 0, 0, 0]])
    manifest = manifest_of(
        1,
        refresh=refresh(definitions=[nothing], migration=migration([], 0, 0)),
        drift=drift(
            1, features=[feature_drift("spend", 0.0, edges=[], bins=[])], categories=[], segments=[]
        ),
        history=[{**entry, "rows": 0} for entry in history(2)],
    )
    assert "no values" in render_report(manifest)
    assert changes_in_words(manifest)


@pytest.mark.parametrize("n_events", [6, 40])
def test_the_terminal_stays_short(n_events: int) -> None:
    events = [event("emerged", [], [i], 3) for i in range(n_events)]
    manifest = manifest_of(refresh=refresh(definitions=[definition(overlap(4), events)]))
    assert len(changes_in_words(manifest)) <= 12


def test_the_tables_of_drift_fit_a_usual_terminal() -> None:
    names = {0: "very many orders, very high spend", 1: "low spend, few orders, lapsed"}
    segments = drift()["segments"]
    for segment in segments:
        segment |= {"share_before": 0.264, "share_now": 0.267, "feature": "recency_days"}
        segment |= {"mean_distance_before": 0.505, "mean_distance_now": 0.565}
    record = manifest_of(drift=drift(segments=segments)).drift
    assert record is not None
    text = "".join(shown_table(table, 80) for table in drift_tables(record, names))
    assert text.count("26.4% → 26.7%  0.505 → 0.565  0.1% → 0.4%  recency_days") == 4
    assert "At the fit → now" in text and "…" not in text


def test_alarms_are_sentences_and_names_of_features_stay() -> None:
    about = {"measure": "feature_psi", "value": 1.0, "threshold": 0.25}
    alarms = [
        Alarm(name="spend", sentence="spend has moved", **about),
        Alarm(sentence="rows are farther from their segments", **about),
    ]
    assert [in_a_sentence(alarm) for alarm in alarms] == [
        "spend has moved.",
        "Rows are farther from their segments.",
    ]
