"""The last step of a run: model, report and manifest beside the parts, then all at once."""

from collections.abc import Mapping, Sequence

from gpuseg.io.output.base import MANIFEST, Output, cannot_write
from gpuseg.manifest import Manifest, dump
from gpuseg.reporting import svg
from gpuseg.reporting.report import render_report
from gpuseg.segmentation.base import SegmentationResult


def publish(
    output: Output,
    content: Manifest,
    plots: bool,
    outcome: SegmentationResult,
    parts: Sequence[str],
    more: Mapping[str, bytes],
) -> None:
    """Stage model, report and manifest, and `more` files, and publish them with the parts.

    With `plots` the report's drawings are files of their own, too.
    """
    models = outcome.models
    files = {f"_model/{name}": data for name, data in models[-1].files().items()}
    if len(models) > 1:
        for model in models:
            own = model.files().items()
            files.update({f"_models/{model.n_clusters}/{name}": data for name, data in own})
    files |= more
    if plots:
        for name, figure in svg.figures(content).items():
            files[f"_plots/{name}.svg"] = svg.standalone(figure).encode()
    files["_report.html"] = render_report(content).encode()
    files[MANIFEST] = dump(content)
    try:
        for name, data in files.items():
            output.write(name, data)
        output.publish([*parts, *(f"_model/{name}" for name in outcome.files)])
    except OSError as error:
        raise cannot_write(output.staging.storage.url, error) from None
