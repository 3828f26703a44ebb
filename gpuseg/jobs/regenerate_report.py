"""The report of an output, rendered again from its manifest, as a newer version would write it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import UndefinedError

from gpuseg.errors import DataError
from gpuseg.io.output.base import MANIFEST, cannot_write
from gpuseg.io.storage import Storage, wrap_store_errors
from gpuseg.reporting.report import render_report

REPORT = "_report.html"


def report_again(output: str, storage_options: Mapping[str, Any] | None = None) -> str:
    """Render the report of a run's output again, and put it in the place of the old one.

    Parameters
    ----------
    output : path or URL of the output folder

    Returns
    -------
    str
        Where it is.

    Raises
    ------
    DataError
        Where there is no manifest, or one that a report cannot be made of.
    ResourceError
        Where the report cannot be written.
    """
    storage = Storage.from_url(output, storage_options or {}, "output")
    with wrap_store_errors("output", storage.url):
        try:
            content = storage.fs.cat_file(f"{storage.root}/{MANIFEST}")
        except (FileNotFoundError, NotADirectoryError):
            raise DataError(
                f"{storage.url}: has no {MANIFEST}; give the output folder of a run"
            ) from None
        try:
            page = render_report(json.loads(content))
        except (ValueError, KeyError, TypeError, AttributeError, UndefinedError) as error:
            raise DataError(
                f"{storage.url}/{MANIFEST}: no report can be made of it ({error!r}); it is "
                "damaged, or of a version whose runs cannot be read any more: run the job again"
            ) from None
    target = f"{storage.root}/{REPORT}"
    try:
        if storage.is_local:  # in one step: a full disk must not cost the old report
            staged = Path(f"{target}.part")
            staged.write_bytes(page.encode())
            staged.replace(target)
        else:
            storage.fs.pipe_file(target, page.encode())
    except OSError as error:
        raise cannot_write(f"{storage.url}/{REPORT}", error) from None
    return f"{output.rstrip('/')}/{REPORT}"
