"""Render the report of an output again from its manifest, as this version of gpuseg writes it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpuseg.io.output.base import cannot_write
from gpuseg.io.storage import Storage, wrap_store_errors
from gpuseg.manifest import Manifest, read_any_manifest
from gpuseg.reporting.report import render_report
from gpuseg.reporting.scores_report import render_scores_report

REPORT = "_report.html"


def regenerate_report(output: str, storage_options: Mapping[str, Any] | None = None) -> str:
    """Render the report of an output of a run, or of scored rows, again and replace the old one.

    Parameters
    ----------
    output : str
        Path or fsspec URL of the output folder.
    storage_options : mapping, optional
        Options of the file system.

    Returns
    -------
    str
        Path or URL of the report.

    Raises
    ------
    DataError
        Where there is no manifest, or one that cannot be understood.
    ResourceError
        Where the report cannot be written.
    """
    storage = Storage.from_url(output, storage_options or {}, "output")
    with wrap_store_errors("output", storage.url):
        manifest = read_any_manifest(storage)
        if isinstance(manifest, Manifest):
            page = render_report(manifest).encode()
        else:
            page = render_scores_report(manifest).encode()
        target = f"{storage.root}/{REPORT}"
        try:
            if storage.is_local:  # atomic: a full disk must not cost the old report
                staged = Path(f"{target}.part")
                staged.write_bytes(page)
                staged.replace(target)
            else:
                storage.fs.pipe_file(target, page)
        except OSError as error:
            raise cannot_write(f"{storage.url}/{REPORT}", error) from None
    return f"{output.rstrip('/')}/{REPORT}"
