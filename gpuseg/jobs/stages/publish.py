"""Publish: stage model, report and manifest next to the parts, then publish all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpuseg.io.output.base import MANIFEST, Output, cannot_write
from gpuseg.jobs.build_manifest import ManifestInputs
from gpuseg.jobs.context import RunContext
from gpuseg.jobs.stages.examples import EXAMPLES
from gpuseg.manifest import FeaturesManifest, Manifest, dump
from gpuseg.reporting import svg
from gpuseg.reporting.report import render_report

if TYPE_CHECKING:
    from gpuseg.jobs.stages.build_features import BuiltFeatures


def publish(
    ctx: RunContext, manifest: Manifest, inputs: ManifestInputs, built: BuiltFeatures | None
) -> None:
    """Stage models, examples, drawings, report and manifest, and publish them with the parts.

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
        files[EXAMPLES] = inputs.profile_inputs.examples.to_file(inputs.example_ids)
        if ctx.spec.output.plots:
            for name, figure in svg.figures(manifest).items():
                files[f"_plots/{name}.svg"] = svg.standalone(figure).encode()
        files["_report.html"] = render_report(manifest).encode()
        written = [*(built.part_names if built else []), *(part.name for part in inputs.parts)]
        written += [f"_model/{name}" for name in result.files]
        stage_and_publish(ctx.output, files, manifest, written)


def stage_and_publish(
    output: Output,
    files: dict[str, bytes],
    manifest: Manifest | FeaturesManifest,
    written: Sequence[str],
) -> None:
    """Stage some files and the manifest, and publish them with those that workers have written.

    Raises
    ------
    ResourceError
        When a file cannot be written.
    """
    try:
        for name, content in files.items():
            output.write(name, content)
        output.write(MANIFEST, dump(manifest))
        output.publish(written)
    except OSError as error:
        raise cannot_write(output.staging.storage.url, error) from None
