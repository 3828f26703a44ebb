"""The sections of a scoring run: those of the command, with what the job of the fit had."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from gpuseg.drift_record import DriftThresholds
from gpuseg.errors import ConfigError, literal
from gpuseg.features.definitions import CUSTOMER_ID
from gpuseg.io.text_files.options import OPTIONS, TextOptions, checked_options
from gpuseg.jobs.job_values import read_job
from gpuseg.jobs.schema import (
    JoinSpec,
    ModelSpec,
    RuntimeSpec,
    ScoredInputSpec,
    ScoredOutputSpec,
    Section,
    Text,
    TransactionsSpec,
)
from gpuseg.manifest import Manifest
from gpuseg.models.base import SegmentModel
from gpuseg.output_columns import CONFIDENCE, DISTANCE, SEGMENT
from gpuseg.redaction import HIDDEN, redacted, secrets_of
from gpuseg.scoring.lookalikes import LIKE_DISTANCE, RANK, ROW
from gpuseg.validation import validated

_OF_INPUT = ("id", "id_hash_key_env", "null_values")
"""Keys of the fit's `[input]` that hold for other tables too, beside those of text files."""

_NOT_OF_FIT = ("path", "storage_options", "snapshot", "features", *OPTIONS)
"""Keys of the fit's `[transactions]` that say nothing of other lines. Those of text files may, see
`text_options_of`."""

_OF_RUNTIME = (
    *("cluster", "n_workers", "threads_per_worker", "backend", "memory_limit"),
    *("tls_ca_file", "tls_cert", "tls_key"),
)

_REQUIRED = {
    "model.path": "give the output folder of a run",
    "input.path": "give the path of a table",
    "output.path": "give the path of a folder to write to",
    "like.segment": "name a segment with like=SEGMENT (--like SEGMENT on the command line)",
    "like.top": "say how many with top=N (--top N on the command line)",
}


def _as_text(value: Any) -> Any:
    """Return the number of a segment as text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class LikeSpec(Section):
    """The segment to which the nearest rows of a table are looked for, and how many."""

    segment: Annotated[Text, BeforeValidator(_as_text)]
    top: Annotated[int, Field(ge=1)]
    exclude_members: bool = False


class ScoreSpec(Section):
    """A model, the table or the transaction lines that it scores, where, and the output."""

    model: ModelSpec
    transactions: TransactionsSpec | None = None
    join: list[JoinSpec] = Field(default_factory=list)
    input: ScoredInputSpec | None = None
    like: LikeSpec | None = None
    drift: DriftThresholds = Field(default_factory=DriftThresholds)
    runtime: RuntimeSpec = Field(default_factory=RuntimeSpec)
    output: ScoredOutputSpec

    @property
    def source(self) -> ScoredInputSpec | TransactionsSpec:
        """The section of the data that is read."""
        source = self.transactions or self.input
        assert source is not None  # a command has one of the two
        return source

    @property
    def id(self) -> str | None:
        """The id column of the rows that are scored."""
        return CUSTOMER_ID if self.input is None else self.input.id

    @property
    def secrets(self) -> frozenset[str]:
        """The secrets among the storage options, which no message may show."""
        sections = (self.model, self.source, *self.join, self.output)
        return frozenset[str]().union(*(secrets_of(each.storage_options) for each in sections))

    def redacted(self) -> dict[str, Any]:
        """Return the sections for manifest and screen, without their secrets."""
        values = self.model_dump(mode="json")
        unused = ("like", "join", "input", "transactions")
        values = {name: v for name, v in values.items() if v or name not in unused}
        if self.drift == DriftThresholds():
            del values["drift"]
        sources = [values["input" if self.transactions is None else "transactions"]]
        sources += values.get("join", [])
        for section in sources:
            for key in OPTIONS:
                if section[key] is None:
                    del section[key]
        for section in (values["model"], *sources, values["output"]):
            section["storage_options"] = dict.fromkeys(section["storage_options"], HIDDEN)
            path = section["path"]
            section["path"] = redacted(path) if isinstance(path, str) else [*map(redacted, path)]
        return values


class LinesSpec(Section):
    """A model that scores lines of JSON."""

    model: ModelSpec


@dataclass(frozen=True)
class Command:
    """What the caller of a scoring run says.

    Attributes
    ----------
    model, output : str or Path
    input : str, Path or sequence of them
    id : str or None
        The id column; None is that of the fit, and "" is none.
    snapshot : str, date or None
        Of transaction lines.
    built_features : bool
        Whether the input has features that were built from lines, where the fit had lines.
    like : str, int or None
        The segment that rows are looked for.
    top : int or None
        How many rows are looked for.
    cluster : str or None
    exclude_members, confidence, overwrite : bool
    overrides : sequence of str
        Of the form ``section.key=value``.
    """

    model: str | Path
    input: str | Path | Sequence[str | Path]
    output: str | Path
    id: str | None = None
    snapshot: str | date | None = None
    built_features: bool = False
    like: str | int | None = None
    top: int | None = None
    exclude_members: bool = False
    cluster: str | None = None
    confidence: bool = False
    overwrite: bool = False
    overrides: Sequence[str] = ()

    def model_values(self) -> dict[str, Any]:
        """Return the values of the section of the model, which are not validated.

        Raises
        ------
        ConfigError
            For a malformed override.
        """
        if not isinstance(self.model, str | Path):
            raise ConfigError(
                "score.not_a_path", value=type(self.model).__name__, parameter="model",
                rule="must be the path or the URL of an output",
                hint="a model in memory scores rows by its method predict_frame",
            )  # fmt: skip
        of_model = [text for text in self.overrides if text.strip().startswith("model.")]
        values = read_job({"model": {"path": str(self.model)}}, of_model)["model"]
        return values if isinstance(values, dict) else {}

    def values(self, fit: Manifest | None) -> dict[str, Any]:
        """Return the values of the sections, which are not validated.

        Parameters
        ----------
        fit : Manifest or None
            Of the run that fitted the model, if it is known. If that was of transaction lines, its
            sections of these are here too, so that overrides can change them.

        Raises
        ------
        ConfigError
            For a malformed override, and options that suit no lines or only lines.
        """
        paths = _paths(self.input)
        has_lines = fit is not None and fit.transactions is not None and not self.built_features
        self._check_source(fit, has_lines)
        values: dict[str, Any] = {
            "model": {"path": str(self.model)},
            "runtime": {},
            "output": {"path": str(self.output)},
        }
        if fit is not None and has_lines:
            values |= sections_of_fit(fit)
            values["transactions"]["path"] = paths
            if self.snapshot is not None:
                values["transactions"]["snapshot"] = self.snapshot
        else:
            values["input"] = {"path": paths}
            if self.built_features:
                values["input"]["id"] = CUSTOMER_ID
            if self.id is not None:
                values["input"]["id"] = self.id or None
        of_like = {"segment": self.like, "top": self.top}
        if like := {key: value for key, value in of_like.items() if value is not None}:
            values["like"] = like
        if self.exclude_members:
            values.setdefault("like", {})["exclude_members"] = True
        if self.cluster is not None:
            values["runtime"]["cluster"] = self.cluster
        if self.confidence:
            values["output"]["confidence"] = True
        if self.overwrite:
            values["output"]["overwrite"] = True
        return read_job(values, self.overrides)

    def _check_source(self, fit: Manifest | None, has_lines: bool) -> None:
        """Refuse options that suit no lines, or only lines."""
        if has_lines:
            if self.id is not None:
                raise ConfigError(
                    "id.of_lines", "the customers of lines are the ids", value=self.id,
                    parameter="id", hint="leave it out; transactions.customer names the column",
                )  # fmt: skip
            return
        if self.snapshot is not None:
            raise ConfigError(
                "snapshot.without_lines",
                "built features have a snapshot already" if self.built_features else
                "the job of the model has no [transactions]",
                value=self.snapshot, parameter="snapshot", hint="leave it out",
            )  # fmt: skip
        if self.built_features and (fit is None or fit.transactions is None):
            raise ConfigError(
                "built_features.without_lines", "the job of the model has no [transactions]",
                value=True, parameter="built_features", hint="leave it out",
            )  # fmt: skip


def _paths(input: str | Path | Sequence[str | Path]) -> str | list[str]:
    """Return the paths of an input as text.

    Raises
    ------
    ConfigError
        For rows in memory, whose names of columns would be taken for paths.
    """
    if isinstance(input, str | Path):
        return str(input)
    if not isinstance(input, Sequence) or not all(isinstance(p, str | Path) for p in input):
        raise ConfigError(
            "score.not_a_path", value=type(input).__name__, parameter="input",
            rule="must be a path, a URL or a list of them",
            hint="for rows in memory, use gpuseg.load_model(…).predict_frame(rows)",
        )  # fmt: skip
    return [*map(str, input)]


def sections_of_fit(fit: Manifest) -> dict[str, Any]:
    """Return the sections of transaction lines of a job, without paths and options of the lines.

    A joined table gives the columns that it gave at the fit.
    """
    assert fit.transactions is not None  # as the caller has checked
    of_lines = _given(section_of_fit(fit, "transactions"), _NOT_OF_FIT)
    of_lines["rfm"] = fit.transactions.rfm is not None
    joins = [
        {**_given(join, ("storage_options",)), "columns": list(joined.columns)}
        for join, joined in zip(fit.job.get("join", []), fit.transactions.joins, strict=False)
    ]
    return {"transactions": of_lines, **({"join": joins} if joins else {})}


def _given(section: Mapping[str, Any], without: Sequence[str]) -> dict[str, Any]:
    return {k: v for k, v in section.items() if v is not None and k not in without}


def validated_sections(values: Mapping[str, Any], fit: Manifest | None) -> ScoreSpec:
    """Return the sections of a run, with the keys of the fit where the command has none.

    Of the fit's runtime nothing is taken where the command names another cluster.

    Parameters
    ----------
    values : mapping
        The sections of the command.
    fit : Manifest or None
        Of the run that fitted the model, if it is known.

    Raises
    ------
    ConfigError
        `ConfigErrors` for several keys or values that break a rule.
    """
    merged = {name: dict(section) if isinstance(section, Mapping) else section
              for name, section in values.items()}  # fmt: skip
    if fit is not None:
        source, runtime = section_of_fit(fit, "input"), section_of_fit(fit, "runtime")
        if "input" in merged:
            _inherit(merged, "input", source, _OF_INPUT)
        _inherit(merged, "drift", section_of_fit(fit, "drift"), tuple(DriftThresholds.model_fields))
        given = merged.get("runtime")
        cluster = given.get("cluster") if isinstance(given, Mapping) else None
        if cluster in (None, runtime.get("cluster")):
            _inherit(merged, "runtime", runtime, _OF_RUNTIME)
    return validated(ScoreSpec, merged, _hint, "score", _REQUIRED)


def sections_of_lines(model: str, overrides: Sequence[str]) -> LinesSpec:
    """Return the sections of a command that scores lines of JSON.

    Raises
    ------
    ConfigError
    """
    values = read_job({"model": {"path": model}}, overrides)
    return validated(LinesSpec, values, _hint, "score", _REQUIRED)


def section_of_fit(fit: Manifest, name: str) -> Mapping[str, Any]:
    """Return a section of the job that fitted a model; empty if it has none."""
    section = fit.job.get(name)
    return section if isinstance(section, Mapping) else {}


def _inherit(
    values: dict[str, Any], section: str, fit: Mapping[str, Any], names: Sequence[str]
) -> None:
    """Add keys of the fit to a section that does not have them."""
    given = values.get(section, {})
    if isinstance(given, Mapping):
        inherited = {name: fit[name] for name in names if fit.get(name) is not None}
        if section == "input" and "id" in given and given["id"] is None:
            inherited.pop("id_hash_key_env", None)  # there are no ids to hash
        values[section] = {**inherited, **given}


def text_options_of(fit: Manifest | None) -> TextOptions:
    """Return how the fit read text files, as far as its job names it."""
    names = ("transactions", "input")
    sections = [] if fit is None else [section_of_fit(fit, name) for name in names]
    source = next(filter(None, sections), {})
    return checked_options(**{name: source.get(name) for name in OPTIONS})


def check_sections(spec: ScoreSpec, model: SegmentModel, fit: Manifest | None) -> None:
    """Refuse sections that do not suit each other, the model or the run that fitted it.

    Raises
    ------
    ConfigError
    """
    extra = [*model.level_columns(), *[CONFIDENCE] * spec.output.confidence]
    of_lookalikes = [] if spec.like is None else [LIKE_DISTANCE, ROW, RANK]
    if spec.id in (SEGMENT, DISTANCE, *extra, *of_lookalikes):
        raise ConfigError(
            "id.reserved_name", "the output has a column of that name itself",
            value=spec.id, parameter="id", hint="rename the id column",
        )  # fmt: skip
    if spec.id is None and spec.source.id_hash_key_env is not None:
        raise ConfigError(
            "id_hash_key_env.no_id", "there are no ids to hash", value=spec.source.id_hash_key_env,
            parameter="id_hash_key_env", hint="name their column in `id`, or leave the key out",
        )  # fmt: skip
    if spec.output.confidence and model.runner_up() is None:
        raise ConfigError(
            "confidence.not_available", f"not available for models of {model.name}",
            parameter="confidence", hint=f"use the output column {DISTANCE}",
        )  # fmt: skip
    if spec.transactions is not None and fit is not None:
        _check_features_of_fit(spec.transactions, fit)
    if spec.runtime.reader == "cudf":
        raise ConfigError(
            "reader.scores_on_host", "rows that are scored are decoded in the memory of the host",
            value="cudf", parameter="reader", hint="leave it out",
        )  # fmt: skip


def _check_features_of_fit(transactions: TransactionsSpec, fit: Manifest) -> None:
    """Refuse other features than those of the fit."""
    has_rfm = fit.transactions is not None and fit.transactions.rfm is not None
    if transactions.features is not None:
        raise ConfigError(
            "features.of_model", "the model has the features", value=transactions.features,
            parameter="features", hint="leave the key out",
        )  # fmt: skip
    if transactions.rfm != has_rfm:
        raise ConfigError(
            "rfm.of_model", "RFM scores are built if the job of the model has built them",
            value=transactions.rfm, parameter="rfm", hint="leave the key out",
        )  # fmt: skip


def _hint(key: str, texts: list[str] | None) -> str:
    """Return the next step for a wrong value, which may mean a list of texts."""
    if texts is None:
        return f"change it with --set {literal(key)}=VALUE"
    value = json.dumps(texts, ensure_ascii=False)
    return literal(f"texts in a list need quotes: --set {shlex.quote(f'{key}={value}')}")
