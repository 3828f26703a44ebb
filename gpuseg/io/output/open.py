"""The output: staged out of readers' sight, then published so that no reader sees a mixture.

A directory of a file system is written beside its target and takes the target's place in one
rename. An object store has no rename: parts bear the run's id in their names, are staged
under ``_staging/``, then ``_SUCCESS`` goes, the parts are copied into place, the manifest and
``_SUCCESS`` last, and only then are the parts of the older output removed. While they are
copied both lie there, without ``_SUCCESS``; the manifest names the parts that count.
"""

from gpuseg.io.output.base import Output
from gpuseg.io.output.local import LocalOutput
from gpuseg.io.output.object_store import ObjectOutput
from gpuseg.io.storage import Storage, wrap_store_errors


def open_output(storage: Storage, overwrite: bool, run_id: str) -> Output:
    """Check that an output may be written at `storage`, and stage it.

    Raises
    ------
    ConfigError
        When something lies there, unless `overwrite` is set and it is an output of gpuseg.
    ResourceError
        When the place is not writable or cannot exchange directories.
    """
    output = LocalOutput if storage.is_local else ObjectOutput
    with wrap_store_errors("output.path", storage.url):
        return output(storage, overwrite, run_id)
