"""The sections of a scoring run in a refresh: those of the job, and the older model."""

from typing import TypeVar, cast

from gpuseg.jobs.job import JobSpec
from gpuseg.jobs.refresh.older_output import OlderOutput
from gpuseg.jobs.schema import ModelSpec, ScoredInputSpec, ScoredOutputSpec, Section
from gpuseg.jobs.score.sections import ScoreSpec

S = TypeVar("S", bound=Section)


def scored_sections(spec: JobSpec, older: str, output: OlderOutput) -> ScoreSpec:
    """Return the sections with which the older model scores the data of a job.

    Parameters
    ----------
    older : str
        Path or URL of the older output.
    """
    transactions, joins = spec.transactions, spec.join
    if transactions is not None:  # the model has the features, and the borders of RFM scores
        lines = output.fit.transactions
        rfm = lines is not None and lines.rfm is not None
        transactions = transactions.model_copy(update={"features": None, "rfm": rfm})
    return ScoreSpec(
        model=ModelSpec(path=older, storage_options=spec.output.storage_options),
        transactions=transactions,
        join=joins,
        drift=spec.drift,
        input=None if spec.input is None else _section(ScoredInputSpec, spec.input),
        runtime=spec.runtime.model_copy(update={"reader": "auto"}),
        output=_section(ScoredOutputSpec, spec.output),
    )


def _section(kind: type[S], section: Section) -> S:
    """Return the keys of a section that another kind of it has, too."""
    names = kind.model_fields.keys() & section.model_fields_set
    return cast(S, kind.model_construct(**{name: getattr(section, name) for name in names}))
