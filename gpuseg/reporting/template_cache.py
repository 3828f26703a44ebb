"""Keep compiled templates where Python keeps compiled modules."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any
from uuid import uuid4

import jinja2
from jinja2.bccache import Bucket, BytecodeCache

_FOLDER = Path(__file__).parent


class TemplateCache(BytecodeCache):
    """A file in ``__pycache__`` for each template; its checksum is that of all that made it.

    As with modules, nothing is kept where the folder is read-only or Python writes no bytecode.

    Parameters
    ----------
    options : mapping
        Options of the environment, which change the compiled code.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._made_by = f"{jinja2.__version__} {sorted(options.items())}"

    def get_cache_key(self, name: str, filename: str | None = None) -> str:
        """Return the name of the template, which names its file."""
        return name

    def get_source_checksum(self, source: str) -> str:
        """Return a checksum of the source, the options and the version of the compiler."""
        return super().get_source_checksum(f"{self._made_by}\n{source}")

    def load_bytecode(self, bucket: Bucket) -> None:
        """Read the compiled template, if there is one."""
        with suppress(OSError), _path(bucket).open("rb") as file:
            bucket.load_bytecode(file)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Write the compiled template in one step."""
        if sys.dont_write_bytecode:
            return
        path = _path(bucket)
        part = path.with_name(f"{path.name}.{uuid4().hex}")
        with suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            try:
                part.write_bytes(bucket.bytecode_to_string())
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)


def _path(bucket: Bucket) -> Path:
    return Path(cache_from_source(str(_FOLDER / bucket.key)))
