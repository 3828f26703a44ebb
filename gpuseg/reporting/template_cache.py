"""Keep compiled templates where Python keeps compiled modules."""

import sys
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path
from uuid import uuid4

from jinja2.bccache import Bucket, BytecodeCache

_FOLDER = Path(__file__).parent


class TemplateCache(BytecodeCache):
    """A file in ``__pycache__`` for each template; jinja2 checks its version and the source's hash.

    As with modules, nothing is kept where the folder is read-only or Python writes no bytecode.
    """

    def get_cache_key(self, name: str, filename: str | None = None) -> str:
        """Return the name of the template, which names its file."""
        return name

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
