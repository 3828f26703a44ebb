"""The environment of all pages: what escapes data, and the filters that format it."""

import re
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from gpuseg import formatting as fmt
from gpuseg.printable import printable, printable_lines
from gpuseg.reporting.template_cache import TemplateCache

_OPTIONS: dict[str, Any] = {
    "autoescape": True,  # names and paths come from the data
    "trim_blocks": True,
    "lstrip_blocks": True,
}


MISSING_REPORT = (
    '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Customer segments</title>\n'
    "<p>The report could not be made; the manifest says why. <code>gpuseg report</code> makes it "
    "again.</p></html>\n"
)
"""The page in place of a report that could not be rendered."""


@cache
def environment(folder: str = "reporting") -> Environment:
    """Return the environment of the templates, which are compiled once for all pages.

    Parameters
    ----------
    folder : str
        The folder of the package with the templates. They may include those of the reports.
    """
    folders = dict.fromkeys((folder, "reporting"))
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("gpuseg", name) for name in folders]),
        bytecode_cache=TemplateCache({**_OPTIONS, "finalize": "_printable_text"}),
        undefined=StrictUndefined,
        finalize=_printable_text,
        **_OPTIONS,
    )
    for helper in (
        fmt.number,
        fmt.small_measure,
        fmt.average,
        fmt.percent,
        fmt.sigma,
        fmt.count,
        fmt.duration,
        fmt.moment,
        fmt.listing,
    ):
        environment.filters[helper.__name__] = helper
    environment.filters["breakable"] = _breakable
    environment.tests["printable"] = _is_printable
    return environment


def _printable_text(value: Any) -> Any:
    """Escape what a page hides or a browser obeys in text; markup is made of such text."""
    return printable_lines(value) if type(value) is str else value


def _is_printable(text: str) -> bool:
    return printable_lines(text) == text


def _breakable(name: str) -> Markup:
    """Allow line breaks in a long name, after its separators only."""
    return Markup(re.sub(r"([_./-])(?=.)", r"\1<wbr>", str(escape(printable(name)))))
