"""The public names: one table, which type checkers see in full, and which can all be imported."""

import ast
from pathlib import Path

import pytest

import gpuseg


def type_checking_imports() -> dict[str, str]:
    """Return the module of each name that ``if TYPE_CHECKING:`` imports."""
    tree = ast.parse(Path(gpuseg.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert len(imports) == len(block.body)
    for node in imports:
        assert [alias.asname for alias in node.names] == [alias.name for alias in node.names]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def test_type_checkers_see_the_table() -> None:
    assert type_checking_imports() == gpuseg._PUBLIC
    assert list(gpuseg._PUBLIC) == sorted(gpuseg._PUBLIC)
    assert gpuseg.__all__ == ["__version__", *gpuseg._PUBLIC]
    assert dir(gpuseg) == sorted(gpuseg.__all__)


@pytest.mark.parametrize("name", gpuseg.__all__)
def test_public_names_can_be_imported(name: str) -> None:
    assert getattr(gpuseg, name) is not None


def test_other_names_are_refused() -> None:
    for name in ("write_customers", "Kmeans"):
        with pytest.raises(AttributeError, match=name):
            getattr(gpuseg, name)
