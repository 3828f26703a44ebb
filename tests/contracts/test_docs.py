"""The documentation: links lead somewhere, and the README stays short."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("kernels/*.md")]

LINK = re.compile(r"\]\(([^)#]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_marks_of_a_merge(page: Path) -> None:
    assert not re.search(r"^(<{7}|={7}$|>{7})", page.read_text(), re.MULTILINE)


def test_every_page_can_be_reached() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / target).resolve() for target in LINK.findall(index.read_text())}
    assert {page.resolve() for page in ROOT.glob("docs/**/*.md")} - {index} <= linked


def hops() -> list[tuple[str, str]]:
    """Return the files and functions of CONTRIBUTING's tables from estimators to kernels."""
    named: list[tuple[str, str]] = []
    for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines():
        folder = re.search(r"\| `(backends/\w+/)` \|", line)
        for file, function in re.findall(r"`([\w/]+\.py)`: `(\w+)`", line):
            named.append(((folder[1] if folder else "") + file, function))
    return named


def test_contributing_has_the_hops_of_both_algorithms() -> None:
    assert len(hops()) == 12


@pytest.mark.parametrize(("file", "function"), hops())
def test_functions_of_the_hops_exist(file: str, function: str) -> None:
    assert re.search(rf"^ *def {function}\(", (ROOT / "gpuseg" / file).read_text(), re.MULTILINE)
