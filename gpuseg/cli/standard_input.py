"""Score lines of JSON from standard input: a line of JSON for each, as soon as it is there."""

import sys

from gpuseg.cli.show import end_start, not_written, print_error
from gpuseg.formatting import count_with
from gpuseg.standard_streams import take_output_error, write_output


def score_standard_input(model: str, with_confidence: bool) -> None:
    """Write a line to standard output for each line of standard input, in the same order.

    Parameters
    ----------
    model : str
        Path or URL of an output folder or a model.
    with_confidence : bool
        Whether lines have the next segment and the confidence.

    Raises
    ------
    ConfigError
        For a model that has no confidence.
    DataError
        At the end, if some lines could not be scored.
    ResourceError
        If standard input cannot be read, or standard output cannot be written.
    """
    from gpuseg.errors import ConfigError, DataError, ResourceError
    from gpuseg.models.loading import load_output
    from gpuseg.scoring.line_batches import read_line_batches
    from gpuseg.scoring.score_lines import LineScorer, id_column_of
    from gpuseg.scoring.score_rows import RowScorer

    output = load_output(model)
    if with_confidence and output.model.runner_up() is None:
        raise ConfigError(
            "confidence.not_available", f"not available for {output.model.name}",
            parameter="confidence", hint="leave --confidence out",
        )  # fmt: skip
    rows = RowScorer(output.model, with_next=with_confidence)
    scorer = LineScorer(rows, output.segment_names, id_column_of(output.manifest))
    end_start()
    try:
        for lines in read_line_batches(sys.stdin.fileno()):
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
            f"the fit, first {item.value!r} in line {item.first_row:,}; it is treated as unknown"
        )
    if scorer.n_failed:
        n_lines = scorer.n_rows + scorer.n_failed
        raise DataError(
            "rows.not_scored",
            f"{scorer.n_failed:,} of {n_lines:,} lines cannot be scored",
            hint="the lines with the key error say why",
        )
