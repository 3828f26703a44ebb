"""Publish: stage model, report and manifest next to the parts, then publish all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpuseg.io.output.base import MANIFEST, as_json, cannot_write
from gpuseg.jobs.build_manifest import ManifestInputs
from gpuseg.jobs.context import OpenRun, RunContext
from gpuseg.jobs.plan import refuse_changed_inputs
from gpuseg.jobs.stages.examples import EXAMPLES
from gpuseg.jobs.text_inputs import STAGED, is_staged
from gpuseg.manifest import FeaturesManifest, Manifest, ScoresManifest, dump
from gpuseg.reporting import svg
from gpuseg.reporting.report import MISSING_REPORT, render_report

if TYPE_CHECKING:
    from gpuseg.jobs.stages.build_features import BuiltFeatures


def publish(
    ctx: RunContext, manifest: Manifest, inputs: ManifestInputs, built: BuiltFeatures | None
) -> Manifest:
    """Stage models, examples, drawings, report and manifest, and publish them with the parts.

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
        written += [f"_model/{name}" for name in result.files]
        stage_and_publish(ctx, files, manifest, written)
    return manifest


def _plots(manifest: Manifest) -> dict[str, bytes]:
    """Return the drawings by the names of their files."""
    return {
        f"_plots/{name}.svg": svg.standalone(figure).encode()
        for name, figure in svg.figures(manifest).items()
    }


def stage_and_publish(
    ctx: OpenRun,
    files: dict[str, bytes],
    manifest: Manifest | FeaturesManifest | ScoresManifest,
    written: Sequence[str],
) -> None:
    """Stage some files and the manifest, and publish them with those that workers have written.

    Raises
    ------
    DataError
        When a file of the input has changed during the run.
    ResourceError
        When a file cannot be written.
    """
    output = ctx.output
    try:
        for name, content in files.items():
            output.write(name, content)
        output.write(MANIFEST, dump(manifest))
        refuse_changed_inputs(ctx.plan)
        if is_staged(ctx.plan.text_inputs, output.staging.path(STAGED)):
            output.staging.remove(STAGED)
        output.publish(written)
    except OSError as error:
        raise cannot_write(output.staging.storage.url, error) from None
