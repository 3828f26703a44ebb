"""What commands print: results on standard output; progress and errors on standard error."""

import gc
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gpuseg.printable import printable_lines
from gpuseg.standard_streams import is_unicode, take_output_error


def end_start() -> None:
    """Collect garbage again, but not what there is now."""
    gc.freeze()
    gc.enable()


@contextmanager
def shown_progress() -> Iterator[Any]:
    """Show progress on standard error, and restore the terminal afterwards."""
    from gpuseg.progress import for_standard_error

    end_start()
    progress = for_standard_error()
    try:
        yield progress
    finally:
        progress.stop()


def show_published(show: Callable[[], None], path: object) -> None:
    """Print what a command has made. The files are there: nothing here can fail the command."""
    try:
        show()
    except Exception as error:  # noqa: BLE001 - whatever it is, the results are published
        print_error(f"warning: the results cannot be shown ({error!r}); they are in {path}")
    if error_of_output := take_output_error():
        print_error(f"warning: {not_written(error_of_output)}; the results are in {path}")


def not_written(error: OSError) -> str:
    return f"standard output cannot be written ({error.strerror or error})"


def print_table(table: Any) -> None:
    from rich.console import Console

    Console(highlight=False, markup=False, emoji=False).print(table)


def print_changes(manifest: Any) -> None:
    """Print what has changed since the run that an output continues, and drift."""
    from gpuseg.reporting.terminal_changes import changes_in_words

    for line in changes_in_words(manifest):
        print_text(line)


def print_json(content: Any) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=not is_unicode(sys.stdout))
    if not text.replace("\n", "").isprintable():  # json escapes some control characters only
        text = "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
    print(text)


def print_text(text: str) -> None:
    print(printable_lines(text))


def print_error(text: str) -> None:
    print(printable_lines(text), file=sys.stderr, flush=True)
