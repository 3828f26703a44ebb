"""Stage an output out of sight of readers, then publish it so that no reader sees a mixture.

On a file system, the output is written next to its target and replaces the target in one rename.
An object store has no rename. There, the names of parts contain the id of the run and parts are
staged under ``_staging/``. To publish, gpuseg deletes ``_SUCCESS``, copies the parts, then the
manifest and ``_SUCCESS``, and finally deletes the parts of the older output. During the copy both
sets of parts exist, without ``_SUCCESS``; the manifest names the parts that are valid.
"""

from collections.abc import Collection

from gpuseg.io.output.base import OUTPUT_PATH, Output
from gpuseg.io.output.local import LocalOutput
from gpuseg.io.output.object_store import ObjectOutput
from gpuseg.io.storage import Storage, wrap_store_errors
from gpuseg.output_kind import OutputKind


def open_output(
    storage: Storage,
    overwrite: bool,
    run_id: str,
    kind: OutputKind = OutputKind.SEGMENTS,
    replaces: Collection[OutputKind] = (),
    adopted: str | None = None,
) -> Output:
    """Check that an output may be written to `storage`, and stage it.

    Parameters
    ----------
    adopted : str, optional
        The name of the staging folder that an interrupted attempt of the run has left.

    Raises
    ------
    ConfigError
        If `storage` is not empty, unless `overwrite` is set and it is an output of gpuseg
        of that kind, or of one among `replaces`.
    ResourceError
        If `storage` is not writable or cannot exchange directories.
    """
    output = LocalOutput if storage.is_local else ObjectOutput
    with wrap_store_errors(OUTPUT_PATH, storage.url):
        return output(storage, overwrite, run_id, kind, replaces, adopted)
