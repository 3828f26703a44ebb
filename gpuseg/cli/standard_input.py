"""Score lines of JSON from standard input: a line of JSON for each, as soon as it is there."""

from collections.abc import Sequence

from gpuseg.cli.show import end_start, not_written, print_error
from gpuseg.errors import ConfigError, DataError, ResourceError, hidden, parameter_names
from gpuseg.formatting import count_with
from gpuseg.printable import printable_value
from gpuseg.redaction import secrets_of
from gpuseg.standard_streams import take_output_error, write_output

_STANDARD_INPUT = 0
"""The descriptor, which is the null device where there is no standard input."""


def score_standard_input(
    model: str, id: str | None, with_confidence: bool, overrides: Sequence[str]
) -> None:
    """Write a line to standard output for each line of standard input, in the same order.

    Parameters
    ----------
    model : str
        Path or URL of an output folder or a model.
    id : str or None
        The key of the rows that is written as ``id``; None is that of the fit, and "" is none.
    with_confidence : bool
        Whether lines have the next segment and the confidence.
    overrides : sequence of str
        Further keys of the section model.

    Raises
    ------
    ConfigError
        For a model that has no confidence.
    DataError
        For a model that cannot be loaded; at the end, if some lines could not be scored.
    ResourceError
        If standard input cannot be read, or standard output cannot be written.
    """
    from gpuseg.jobs.score.sections import sections_of_lines
    from gpuseg.models.loading import load_output
    from gpuseg.scoring.line_batches import read_line_batches
    from gpuseg.scoring.score_lines import LineScorer, id_column_of
    from gpuseg.scoring.score_rows import RowScorer

    spec = sections_of_lines(model, overrides).model
    with hidden(secrets_of(spec.storage_options)), parameter_names({"path": "model.path"}):
        output = load_output(spec.path, storage_options=spec.storage_options)
    if with_confidence and output.model.runner_up() is None:
        raise ConfigError(
            "confidence.not_available", f"not available for models of {output.model.name}",
            parameter="confidence", hint="use the key distance",
        )  # fmt: skip
    rows = RowScorer(output.model, with_next=with_confidence)
    id_column = id_column_of(output.manifest) if id is None else id or None
    scorer = LineScorer(rows, output.segment_names, id_column)
    end_start()
    try:
        for lines in read_line_batches(_STANDARD_INPUT):
            if not write_output(scorer.score(lines)):
                break
    except OSError as error:
        raise ResourceError(
            "stdin.not_readable",
            f"standard input cannot be read ({error.strerror or error})",
            hint="pipe a file or a program into the command",
        ) from None
    if error_of_output := take_output_error():
        raise ResourceError(
            "stdout.not_writable", not_written(error_of_output),
            hint="free some space, or print elsewhere",
        )  # fmt: skip
    for item in scorer.unseen.values():
        rows_have = count_with(item.n_rows, "row", "has", "have")
        print_error(
            f"warning: column '{item.column}': {rows_have} a category that was not in the data of "
            f"the fit, first {printable_value(item.value)} in line {item.first_row:,}; it is "
            "treated as unknown"
        )
    if scorer.n_failed:
        raise DataError(
            "lines.not_scored",
            f"{scorer.n_failed:,} of {scorer.n_rows + scorer.n_failed:,} lines cannot be scored",
            hint="each has the key error in its place, which says why",
        )
