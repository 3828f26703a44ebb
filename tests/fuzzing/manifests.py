"""Mutated manifests: `gpuseg report` makes a valid page without scripts of each, or refuses it."""

import json
import random
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from support.pages import make_scores_manifest
from support.refreshed_outputs import drift, history, refresh

from fuzzing.mutations import mutated_bytes, mutated_tree
from fuzzing.pages import check_page, check_text, shown_table
from gpuseg.io.storage import Storage
from gpuseg.jobs.regenerate_report import regenerate_report
from gpuseg.manifest import Manifest, ScoresManifest, read_any_manifest
from gpuseg.printable import printable_lines
from gpuseg.reporting import svg
from gpuseg.reporting.history_table import runs_table, shares_table
from gpuseg.reporting.line_quality_table import quality_table
from gpuseg.reporting.scores_table import scores_table
from gpuseg.reporting.terminal_changes import changes_in_words
from gpuseg.reporting.terminal_table import segment_table
from gpuseg.run_history import history_of

_SAMPLES = Path(__file__).parents[1] / "contracts" / "manifests"


class ManifestFuzzer:
    """Mutates a manifest of each algorithm, in each format, and shows it."""

    seconds = 20.0

    def prepare(self, folder: Path) -> None:
        """Read the samples; those of an older format are there in the current one too."""
        old = [json.loads(path.read_text()) for path in sorted(_SAMPLES.glob("*.json"))]
        new = [Manifest.from_json(item).to_json() for item in old]
        changes = {"refresh": refresh(), "drift": drift(), "history": history()}
        scored = {**make_scores_manifest(), **changes}
        self.samples: list[Any] = [*old, *new, *({**each, **changes} for each in new), scored]

    def try_case(self, draw: random.Random, folder: Path) -> None:
        """Mutate one place or a few, or some bytes."""
        content = draw.choice(self.samples)
        for _ in range(draw.choice((1, 1, 2, 5))):
            content = mutated_tree(draw, content)
        written = json.dumps(content).encode()
        if draw.random() < 0.2:
            written = mutated_bytes(draw, written)
        (folder / "_manifest.json").write_bytes(written)
        regenerate_report(str(folder))
        check_page((folder / "_report.html").read_text(encoding="utf-8"))
        manifest = read_any_manifest(Storage.from_url(str(folder), {}, "output"))
        check_text("".join(map(printable_lines, changes_in_words(manifest))))
        check_text(shown_table(runs_table(history_of(manifest)), 80))
        check_text(shown_table(shares_table(history_of(manifest)), 80))
        if isinstance(manifest, ScoresManifest):
            check_text(shown_table(scores_table(manifest), draw.choice((1, 40, 80, 200))))
            return
        check_text(shown_table(segment_table(manifest), draw.choice((1, 40, 80, 200))))
        if manifest.transactions is not None:
            check_text(shown_table(quality_table(manifest.transactions), 80))
        for figure in svg.figures(manifest).values():
            ElementTree.fromstring(svg.standalone(figure))


def fuzzer() -> ManifestFuzzer:
    """Make the fuzzer."""
    return ManifestFuzzer()
