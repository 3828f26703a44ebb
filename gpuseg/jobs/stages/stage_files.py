"""Stage the files of a run that are no parts, and publish all at once."""

from collections.abc import Sequence

from gpuseg.io.output.base import MANIFEST, cannot_write
from gpuseg.jobs.context import OpenRun
from gpuseg.jobs.plan import refuse_changed_inputs
from gpuseg.jobs.text_inputs import STAGED, is_staged
from gpuseg.manifest import FeaturesManifest, Manifest, ScoresManifest, dump


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
