"""Publish: stage model, report and manifest next to the parts, then publish all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpuseg.io.output.base import as_json
from gpuseg.jobs.build_manifest import ManifestInputs
from gpuseg.jobs.context import RunContext
from gpuseg.jobs.stages.examples import EXAMPLES
from gpuseg.jobs.stages.stage_files import stage_and_publish
from gpuseg.manifest import Manifest
from gpuseg.reporting import svg
from gpuseg.reporting.report import render_report
from gpuseg.reporting.templates import MISSING_REPORT

if TYPE_CHECKING:
    from gpuseg.jobs.stages.build_features import BuiltFeatures


def publish(
    ctx: RunContext,
    manifest: Manifest,
    inputs: ManifestInputs,
    built: BuiltFeatures | None,
    changes: Sequence[str] = (),
) -> Manifest:
    """Stage models, examples, drawings, report and manifest, and publish them with the parts.

    Parameters
    ----------
    changes : sequence of str
        Names of the files of customers that moved, which are staged.

    Returns
    -------
    Manifest
        With a warning for each part of the description that could not be made.

    Raises
    ------
    ResourceError
        When a file cannot be written.
    """
    result = inputs.result
    with ctx.reporter.stage("publish"):
        models = {"_model": result.model}
        models.update((f"_models/{k}", model) for k, model in result.alternatives.items())
        files = {
            f"{folder}/{name}": content
            for folder, model in models.items()
            for name, content in model.to_files().items()
        }
        describe = ctx.reporter.describe
        examples = inputs.profile_inputs.examples
        files[EXAMPLES] = describe(
            "examples", lambda: examples.to_file(inputs.example_ids), lambda: as_json([])
        )
        if ctx.spec.output.plots:
            files |= describe("plots", lambda: _plots(manifest), dict[str, bytes])
        page = describe("report", lambda: render_report(manifest), lambda: MISSING_REPORT)
        files["_report.html"] = page.encode()
        manifest = manifest.model_copy(
            update={
                "warnings": tuple(ctx.reporter.warnings),
                "failures": tuple(ctx.reporter.failures),
            }
        )
        written = [*(built.part_names if built else []), *(part.name for part in inputs.parts)]
        written += [*changes, *(f"_model/{name}" for name in result.files)]
        stage_and_publish(ctx, files, manifest, written)
    return manifest


def _plots(manifest: Manifest) -> dict[str, bytes]:
    """Return the drawings by the names of their files."""
    return {
        f"_plots/{name}.svg": svg.standalone(figure).encode()
        for name, figure in svg.figures(manifest).items()
    }
