"""The schema of a job: its sections, with the parameters of one of the registered algorithms."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Union

from pydantic import (
    BaseModel,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    create_model,
    field_validator,
)
from pydantic_core import PydanticCustomError

from gpuseg.drift_record import DriftThresholds
from gpuseg.errors import key_step, section_names
from gpuseg.features.definitions import CUSTOMER_ID, RFM, RFM_SEGMENT
from gpuseg.io.text_files.options import OPTIONS
from gpuseg.jobs.run_sections import RunSections
from gpuseg.jobs.schema import (
    AuditSpec,
    InputSpec,
    JoinSpec,
    OutputSpec,
    PrepareSpec,
    RefreshSpec,
    RuntimeSpec,
    Section,
    SubmitSpec,
    TransactionsSpec,
)
from gpuseg.output_columns import CONFIDENCE
from gpuseg.printable import printable_value
from gpuseg.redaction import HIDDEN, redacted, secrets_of
from gpuseg.segmentation.base import SegmentationAlgorithm, SegmentSpec
from gpuseg.segmentation.registry import algorithm_of, registered
from gpuseg.validation import broken_rule


class JobSpec(Section):
    """One job, either with `input` or with `transactions`; the README has an example of the file.

    `job_model` returns the class that is validated: its `segment` is one of the registered
    algorithms.
    """

    transactions: TransactionsSpec | None = None
    join: list[JoinSpec] = Field(default_factory=list)
    input: InputSpec | None = Field(default=None, validate_default=True)
    prepare: PrepareSpec = Field(default_factory=PrepareSpec)
    segment: SegmentSpec
    audit: AuditSpec = Field(default_factory=AuditSpec)
    runtime: RuntimeSpec = Field(default_factory=RuntimeSpec)
    drift: DriftThresholds = Field(default_factory=DriftThresholds)
    refresh: RefreshSpec = Field(default_factory=RefreshSpec)
    submit: SubmitSpec = Field(default_factory=SubmitSpec)
    output: OutputSpec

    @field_validator("join")
    @classmethod
    def _joins_need_transactions(cls, join: list[JoinSpec], info: ValidationInfo) -> list[JoinSpec]:
        if join and _is_missing("transactions", info):
            raise broken_rule(
                "join.without_transactions",
                "needs [transactions], to whose features it adds attributes",
                hint="join the tables to the rows of [input] beforehand",
            )
        return join

    @field_validator("input", mode="before")
    @classmethod
    def _one_source(cls, source: Any, info: ValidationInfo) -> Any:
        """Check this before the keys, some of which would be missing in an `input` by mistake."""
        if source is None and _is_missing("transactions", info):
            raise PydanticCustomError("missing", "missing")
        if source is not None and not _is_missing("transactions", info):
            raise broken_rule(
                "input.with_transactions",
                "cannot be combined with [transactions], from which the features are built: a job "
                "has one of the two sections",
                hint=_other_source(source),
            )
        return source

    @property
    def source(self) -> InputSpec | TransactionsSpec:
        """The section of the data that is read."""
        source = self.transactions or self.input
        if source is None:
            raise TypeError("a job without input and transactions was not validated")
        return source

    @property
    def id(self) -> str | None:
        """The id column of the rows that are segmented."""
        return CUSTOMER_ID if self.input is None else self.input.id

    @property
    def weight(self) -> str | None:
        """The weight column of the rows that are segmented."""
        return None if self.input is None else self.input.weight

    @property
    def allow_personal(self) -> list[str]:
        """Columns that are features although they look like personal data."""
        of_input = [] if self.input is None else self.input.allow_personal
        return [*of_input, *(name for join in self.join for name in join.allow_personal)]

    @property
    def algorithm(self) -> SegmentationAlgorithm[Any]:
        """The algorithm that `segment` has the parameters of."""
        return algorithm_of(self.segment)

    @property
    def builds_rfm(self) -> bool:
        """Whether RFM scores are built: if the job says so, or clusters one of them."""
        if self.transactions is None:
            return False
        clustered = {*(self.transactions.features or []), *self.prepare.categorical}
        return self.transactions.rfm or any(feature.name in clustered for feature in RFM)

    @property
    def compared_columns(self) -> list[str]:
        """Columns in which the report compares the segments: audited ones, or the cells of RFM."""
        return [RFM_SEGMENT] if self.builds_rfm else self.audit.columns

    @property
    def comparison_threshold(self) -> int:
        """Smaller counts of the compared columns are hidden; the cells of RFM are in the output."""
        return 0 if self.builds_rfm else self.audit.threshold

    @property
    def extra_columns(self) -> list[str]:
        """Output columns in addition to the id, the segment and the distance."""
        levels = self.algorithm.extra_columns(self.segment)
        return levels + [CONFIDENCE] * self.output.confidence

    @property
    def secrets(self) -> frozenset[str]:
        """The secrets among the storage options, which no message may show."""
        sections = (self.source, self.output, *self.join)
        return frozenset[str]().union(*(secrets_of(each.storage_options) for each in sections))

    def redacted(self, features: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the job for manifest and screen, without its secrets.

        These are the values of storage options, and logins and queries in URLs.

        `features` are the features that are clustered, in place of the job's.
        """
        job = self.model_dump(mode="json")
        source = "input" if self.transactions is None else "transactions"
        if features is not None:
            job[source]["features"] = list(features)
        del job["transactions" if source == "input" else "input"]
        if not self.audit.columns:
            del job["audit"]
        if not self.join:
            del job["join"]
        del job["submit"]  # where a job runs is not part of what it computes
        for name in {"drift", "refresh"} - self.model_fields_set:
            del job[name]
        for section in (job[source], *job.get("join", [])):
            for key in OPTIONS:
                if section[key] is None:
                    del section[key]
        for section in (job[source], job["output"], *job.get("join", [])):
            hidden = dict.fromkeys(section["storage_options"], HIDDEN)
            section["storage_options"] = hidden
            path = section["path"]
            section["path"] = redacted(path) if isinstance(path, str) else [*map(redacted, path)]
        return job


def _is_missing(section: str, info: ValidationInfo) -> bool:
    """Whether a section validated before is not in the job; a wrong one has its own error."""
    return section in info.data and info.data[section] is None


def _other_source(source: Any) -> str:
    """Return the next step for an `input` beside `transactions`."""
    hint = "leave one of the two out (transactions.features names the features to cluster)"
    given = source if isinstance(source, Mapping) else {}
    keys = [key for key in TransactionsSpec.model_fields if key in given and key != "path"]
    if not keys or "path" in given:
        return hint
    rest = ", and leave the rest of [input] out" if len(keys) < len(given) else ""
    return f"move {' and '.join(keys)} from [input] to [transactions]{rest}"


def job_model() -> type[JobSpec]:
    """Return the schema of a job with the algorithms that are registered now."""
    return _job_model(tuple((algorithm.name, algorithm.spec) for algorithm in registered()))


@cache
def _job_model(specs: tuple[tuple[str, type[SegmentSpec]], ...]) -> type[JobSpec]:
    default, default_spec = specs[0]

    def tag(segment: Any) -> str:
        """Return the algorithm of a `[segment]` section, before it is validated."""
        if isinstance(segment, SegmentSpec):
            return segment.algorithm
        name = segment.get("algorithm", default) if isinstance(segment, Mapping) else default
        return name if isinstance(name, str) else printable_value(name)

    names = ", ".join(repr(name) for name, _ in specs)
    unknown = broken_rule("algorithm.unknown", f"must be one of {names}", "algorithm")
    branches = [Annotated[spec, Tag(name)] for name, spec in specs]
    segment: Any = Annotated[
        Union[tuple(branches)],  # noqa: UP007
        Discriminator(
            tag,
            custom_error_type=unknown.type,
            custom_error_message=unknown.message_template,
            custom_error_context=unknown.context,
        ),
    ]
    return create_model(
        "JobSpec", __base__=JobSpec, segment=(segment, default_spec.model_validate({}))
    )


def job_names(spec: RunSections) -> dict[str, str]:
    """Return the key of the job for each parameter that lower layers name in errors.

    Every key has the name ``section_key``, and ``key`` unless several sections have it.
    """
    sections = {
        name: type(section).model_fields for name, section in spec if isinstance(section, BaseModel)
    }
    count = Counter(key for keys in sections.values() for key in keys)
    names = {f"{name}_{key}": f"{name}.{key}" for name, keys in sections.items() for key in keys}
    names.update(
        (key, f"{name}.{key}") for name, keys in sections.items() for key in keys if count[key] == 1
    )
    return {
        **names,
        **_key_steps(spec, count),
        **section_names(
            "input" if spec.transactions is None else "transactions",
            given=spec.source.model_fields_set,
        ),
    }


def _key_steps(spec: RunSections, count: Counter[str]) -> dict[str, str]:
    """Return the steps to set keys; `count` has the number of sections with a key."""
    steps: dict[str, str] = {}
    for section, keys in spec:
        if isinstance(keys, BaseModel):
            has_section = section in spec.model_fields_set
            for key in type(keys).model_fields:
                steps |= key_step(
                    section, key, is_unique=count[key] == 1, has_section=has_section,
                    has_key=key in keys.model_fields_set,
                )  # fmt: skip
    return steps
