"""What tests say of errors: their code and fields, not their words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gpuseg.errors import GpusegError


@contextmanager
def raises(code: str, kind: type[GpusegError] = GpusegError, **fields: Any) -> Iterator[Any]:
    """Expect an error of that code; `fields` are attributes of it, such as parameter and value."""
    with pytest.raises(kind) as caught:
        yield caught
    error = caught.value
    assert error.code == code, f"{error.code}: {error}"
    for name, expected in fields.items():
        assert getattr(error, name) == expected, f"{name} of {error!r}"
