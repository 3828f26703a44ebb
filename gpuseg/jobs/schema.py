"""The sections of the job file and the rules of their keys, except `[segment]`."""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WrapValidator,
    field_validator,
    model_validator,
)

from gpuseg.errors import ConfigError, literal
from gpuseg.features.definitions import RFM_TEXTS, available
from gpuseg.features.time_format import time_formats_of
from gpuseg.features.transactions import Roles, as_moment
from gpuseg.io.null_values import NULL_VALUES, null_values_of
from gpuseg.io.text_files.choose_format import named_format
from gpuseg.io.text_files.number_format import PLAIN
from gpuseg.io.text_files.options import (
    OPTIONS,
    TextOptions,
    checked_decimal,
    checked_delimiter,
    checked_encoding,
    checked_header,
    checked_quote,
    checked_skip_rows,
    checked_thousands,
    same_signs,
)
from gpuseg.jobs.time_limit import MAX_SECONDS, seconds_of
from gpuseg.preprocessing.params import PreprocessingParams
from gpuseg.refresh_record import MatchThresholds, Threshold
from gpuseg.runtime.scheduler_file import SUFFIX
from gpuseg.runtime.tls_files import ENCRYPTED, TlsFiles
from gpuseg.validation import MAX_THREADS, broken_rule, nearest_known

_MAX_TEXT = 4096
"""Characters of a path or a name; those of Linux have fewer bytes."""

_MAX_WORKERS = 10_000
_MAX_THRESHOLD = 2**31
_MAX_BYTES = 2**60


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must have no NUL character")
    return text


Text = Annotated[str, Field(min_length=1, max_length=_MAX_TEXT), AfterValidator(_without_nul)]


def _branch(value: Any) -> str:
    """Return the branch of `Paths` that a value means."""
    return "list" if isinstance(value, list) else "path"


Paths = Annotated[
    Annotated[Text, Tag("path")] | Annotated[list[Text], Field(min_length=1), Tag("list")],
    Discriminator(_branch),
]
"""A path, a glob, or a list of these."""


def _bytes(value: Any, parse: Callable[[Any], ByteSize]) -> ByteSize:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    try:
        if not is_number or 1 <= value <= _MAX_BYTES:  # Python parses no number of 5,000 digits
            size = parse(value)
            if 1 <= size <= _MAX_BYTES:
                return size
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a size such as '4GiB', or a number of bytes; at most 1 EiB")


Memory = Annotated[ByteSize, WrapValidator(_bytes)]

LOCAL_CLUSTERS = ("local", "dask", "cuda")
"""Clusters that a run starts itself, on this machine."""

RANKS = "ranks"
"""The cluster of N processes that were started by the same command."""

_KEYS_OF_RANKS = ("start_timeout", "rendezvous", "address", "interface")

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]]+):(?P<port>[0-9]{1,5})")

_LAST_PORT = 65_535

_MAX_SECONDS = 7 * 86_400

_GPU_CLUSTERS = ("local", "cuda", RANKS)
"""Clusters in which every worker of a machine with GPUs has one."""

_TLS_PAIR = ("tls_ca_file", "tls_cert")
_TLS_KEYS = (*_TLS_PAIR, "tls_key")

_SCHEMES = ("tcp://", "tls://", "ws://", "wss://")


class Section(BaseModel):
    """Base of the sections of a job."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


def _unique(names: list[str]) -> list[str]:
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        listed = literal(", ".join(repeated))
        raise ValueError(f"must name each column once; repeated: {listed}")
    return names


Features = Annotated[list[Text], Field(min_length=1), AfterValidator(_unique)]


NullValues = Annotated[list[str], BeforeValidator(null_values_of)]
"""Text that stands for no value."""


class TextFileKeys(Section):
    """Keys of CSV files and workbooks of Excel; None is looked for in the files."""

    encoding: Annotated[Text, AfterValidator(checked_encoding)] | None = None
    delimiter: Annotated[Text, AfterValidator(checked_delimiter)] | None = None
    quote: Annotated[str, AfterValidator(checked_quote)] | None = None
    decimal: Annotated[Text, AfterValidator(checked_decimal)] | None = None
    thousands: Annotated[Text, AfterValidator(checked_thousands)] | None = None
    header: Annotated[Any, BeforeValidator(checked_header)] = None
    skip_rows: Annotated[int, AfterValidator(checked_skip_rows)] | None = None
    skip_footer: Annotated[int, AfterValidator(checked_skip_rows)] | None = None
    sheet: Text | None = None

    @model_validator(mode="after")
    def _has_two_signs(self) -> "TextFileKeys":
        if pair := same_signs(self.text_options):
            one, other = pair
            raise broken_rule(
                f"{one}.{other}", f"must be another sign than {other}", one,
                "name the two signs that the files have",
            )  # fmt: skip
        return self

    @property
    def text_options(self) -> TextOptions:
        """The keys of text files."""
        return TextOptions(**{name: getattr(self, name) for name in OPTIONS})


class InputSpec(TextFileKeys):
    """Path of the feature vectors, and the columns that are used."""

    path: Paths
    id: Text | None = None
    features: Features | None = None
    weight: Text | None = None
    id_hash_key_env: Text | None = None
    null_values: NullValues = list(NULL_VALUES)
    allow_personal: list[Text] = []
    storage_options: dict[str, Any] = {}


class ScoredInputSpec(TextFileKeys):
    """Path of a table that a model scores, and its ids; the model knows the other columns."""

    path: Paths
    id: Text | None = None
    id_hash_key_env: Text | None = None
    null_values: NullValues = list(NULL_VALUES)
    storage_options: dict[str, Any] = {}


TimeFormats = Annotated[list[str], BeforeValidator(time_formats_of)]
"""Formats of times; a single one may be a text."""

Moment = Annotated[datetime, BeforeValidator(as_moment)]


class TransactionsSpec(TextFileKeys):
    """Path of transaction lines, and the roles of their columns.

    `features` are clustered; all features that can be built are written.
    """

    path: Paths
    customer: Text
    time: Text
    order: Text | None = None
    product: Text | None = None
    category: Text | None = None
    quantity: Text | None = None
    price: Text | None = None
    amount: Text | None = None
    snapshot: Moment | None = None
    id_hash_key_env: Text | None = None
    features: Features | None = None
    rfm: bool = False
    null_values: NullValues = list(NULL_VALUES)
    time_format: TimeFormats | None = None
    storage_options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _has_amounts(self) -> "TransactionsSpec":
        self.roles()
        return self

    def check_features(self, joined: Sequence[str], categorical: Collection[str]) -> None:
        """Refuse features that are neither built nor joined, and text that is no category.

        Raises
        ------
        ConfigError
        """
        known = [*available(self.roles().columns(), rfm=True), *joined]
        for name in self.features or []:
            if name not in known:
                raise ConfigError(
                    "features.not_built", f"no feature '{name}' for lines with these columns",
                    parameter="features", hint=nearest_known(name, known),
                )  # fmt: skip
            if name in RFM_TEXTS and name not in categorical:
                raise ConfigError(
                    "features.rfm_text", f"'{name}' is text and not numeric",
                    parameter="features",
                    hint="name recency_score, frequency_score and monetary_score, or add "
                    f'{name} = "onehot" to [prepare.categorical]',
                )  # fmt: skip

    def roles(self) -> Roles:
        """Return the roles of the columns."""
        others = {
            *("path", "features", "storage_options", "id_hash_key_env", "null_values"),
            *("time_format", "rfm", *OPTIONS),
        }
        return Roles(
            **self.model_dump(exclude=others),
            null_values=tuple(self.null_values),
            time_format=tuple(self.time_format or ()),
            number_format=named_format(self.text_options) or PLAIN,
            are_of_job=True,
        )


class JoinSpec(TextFileKeys):
    """A table with attributes of the customers; by default all columns but the id are joined."""

    path: Paths
    id: Text
    columns: Features | None = None
    null_values: NullValues = list(NULL_VALUES)
    allow_personal: list[Text] = []
    storage_options: dict[str, Any] = {}


class PrepareSpec(PreprocessingParams):
    """Preprocessing of the customers and their features.

    `duplicates` says what happens to rows with the same id: all are kept, they are refused, or
    the first one is kept.
    """

    duplicates: Literal["keep", "error", "first"] = "keep"


class RuntimeSpec(Section):
    """Cluster, backend, reader and limits of a run."""

    cluster: Text = "local"
    n_workers: Annotated[int, Field(ge=1, le=_MAX_WORKERS)] | None = None
    threads_per_worker: Annotated[int, Field(ge=1, le=MAX_THREADS)] | None = None
    backend: Literal["auto", "numpy", "numba", "cuda"] = "auto"
    reader: Literal["auto", "arrow", "cudf"] = "auto"
    memory_limit: Memory | None = None
    tls_ca_file: Text | None = None
    tls_cert: Text | None = None
    tls_key: Text | None = None

    start_timeout: Annotated[float, Field(gt=0, le=_MAX_SECONDS)] = 60.0
    rendezvous: Literal["file", "address"] = "file"
    address: Text | None = None
    interface: Text | None = None

    @property
    def tls(self) -> TlsFiles | None:
        """Certificates for the scheduler; None for those of Dask's configuration, or none."""
        if self.tls_ca_file is None or self.tls_cert is None:
            return None
        return TlsFiles(self.tls_ca_file, self.tls_cert, self.tls_key)

    @property
    def no_gpu_reason(self) -> str:
        """Why "auto" must not use GPUs; empty if it may."""
        if self.cluster in _GPU_CLUSTERS:
            return ""
        return f"the workers of cluster = {self.cluster!r} may not have a GPU each"

    @field_validator("cluster")
    @classmethod
    def _known_cluster(cls, cluster: str) -> str:
        is_scheduler = cluster.startswith(_SCHEMES) or cluster.endswith(SUFFIX)
        if cluster not in (*LOCAL_CLUSTERS, RANKS) and not is_scheduler:
            raise ValueError(
                "must be 'local', 'dask', 'cuda', 'ranks', the address of a scheduler such as "
                "tcp://host:8786, or the path of its scheduler file, which ends with .json"
            )
        return cluster

    @field_validator("address")
    @classmethod
    def _has_port(cls, address: str | None) -> str | None:
        match = None if address is None else _ADDRESS.fullmatch(address)
        if address is not None and (match is None or not 1 <= int(match["port"]) <= _LAST_PORT):
            raise ValueError(
                f"must be HOST:PORT, such as 'node1:8786', with a port from 1 to {_LAST_PORT}"
            )
        return address

    @model_validator(mode="after")
    def _compatible(self) -> "RuntimeSpec":
        runs_on_cpu = self.backend in ("numpy", "numba")
        if self.cluster == "cuda" and runs_on_cpu:
            raise broken_rule(
                "backend.not_on_gpu",
                "runs on the CPU, but cluster = 'cuda' gives each worker a GPU",
                "backend",
                "use backend = 'cuda' or 'auto', or cluster = 'dask'",
            )
        if self.reader == "cudf" and runs_on_cpu:
            raise broken_rule(
                "reader.backend_on_cpu",
                f"reads into the memory of a GPU, but backend = {self.backend!r} runs on the CPU",
                "reader",
                "use backend = 'cuda' or 'auto', or reader = 'auto'",
            )
        n_threads = (self.n_workers or 1) * (self.threads_per_worker or 1)
        if self.cluster in LOCAL_CLUSTERS and n_threads > MAX_THREADS:
            raise broken_rule(
                "n_workers.too_many_threads",
                f"would have {n_threads:,} threads on this machine, more than {MAX_THREADS:,}",
                "n_workers",
                "use fewer workers or threads_per_worker, or those of a scheduler",
            )
        self._check_ranks()
        knows_threads = self.cluster in (*LOCAL_CLUSTERS, RANKS)
        if self.threads_per_worker is not None and not knows_threads:
            raise broken_rule(
                "threads_per_worker.external_cluster",
                f"cannot be set for the workers of {literal(self.cluster)}, which run already",
                "threads_per_worker",
                "leave the key out",
            )
        return self

    @model_validator(mode="after")
    def _has_certificates(self) -> "RuntimeSpec":
        given = [key for key in _TLS_KEYS if getattr(self, key) is not None]
        if given and not self.cluster.startswith(ENCRYPTED) and not self.cluster.endswith(SUFFIX):
            raise broken_rule(
                "tls.only_of_scheduler",
                f"is for the address of a scheduler with certificates, and cluster is "
                f"{literal(repr(self.cluster))}",
                given[0],
                "use cluster = 'tls://host:8786', or leave the key out",
            )
        for key in _TLS_PAIR:
            if given and getattr(self, key) is None:
                raise broken_rule(
                    "tls.incomplete", f"needs {key} beside it", given[0],
                    f"name {key} too, or leave all certificates out and use those of the "
                    "configuration of Dask",
                )  # fmt: skip
        return self

    def _check_ranks(self) -> None:
        """Check the keys that only ranks have, and those that they do not have."""
        if self.cluster == RANKS and self.n_workers is not None:
            raise broken_rule(
                "n_workers.with_ranks",
                "cannot be set, since the launcher says how many ranks there are",
                "n_workers",
                "leave the key out",
            )
        for key in _KEYS_OF_RANKS:
            is_changed = getattr(self, key) != RuntimeSpec.model_fields[key].default
            if self.cluster != RANKS and is_changed:
                raise broken_rule(
                    "cluster.no_ranks",
                    f"says how ranks meet, but cluster = {self.cluster!r}",
                    key,
                    "leave the key out, or use cluster = 'ranks'",
                )


class AuditSpec(Section):
    """Columns that are not clustered; the segments are compared in them."""

    columns: Annotated[list[Text], AfterValidator(_unique)] = []
    threshold: Annotated[int, Field(ge=2, le=_MAX_THRESHOLD)] = 10

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        if not isinstance(value, list | dict):
            raise ValueError("must be a list of columns, or a section with columns and threshold")
        return {"columns": value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _has_columns(self) -> "AuditSpec":
        if "threshold" in self.model_fields_set and not self.columns:
            raise broken_rule(
                "threshold.no_columns",
                "there is nothing to audit",
                "threshold",
                "name columns in audit.columns",
            )
        return self


class RefreshSpec(Section):
    """How a refresh continues an older output, and which segments are the same.

    `mode` "auto" takes the cheapest of "score", "warm" and "fresh" that is good enough. With
    `preparation` "keep" the statistics of the older preparation are kept. A fresh fit is taken over
    one from the older centers if its inertia is lower by at least `min_improvement`. If rows are
    appended, the older ones count `decay` times as much as they did. `match` and `split` are the
    shares of `MatchThresholds`.
    """

    mode: Literal["auto", "score", "warm", "fresh"] = "auto"
    preparation: Literal["keep", "fit"] = "keep"
    min_improvement: Annotated[float, Field(ge=0, lt=1)] = 0.01
    decay: Annotated[float, Field(ge=0, le=1)] = 1.0
    match: Threshold = 0.5
    split: Threshold = 0.2

    @property
    def thresholds(self) -> MatchThresholds:
        """What decides whether segments are the same."""
        return MatchThresholds(match=self.match, split=self.split)


_MAX_TASKS = 100_000
"""Tasks of a job, and machines."""


def _matching(pattern: str, rule: str) -> AfterValidator:
    """Return the check that a text matches a regular expression as a whole."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(rule)
        return text

    return AfterValidator(check)


Line = Annotated[Text, _matching(r"[^\r\n]*", "must be one line")]
"""A line of a script."""

EnvironmentName = Annotated[
    str,
    _matching(
        r"[A-Za-z_][A-Za-z0-9_]{0,254}",
        "must be the name of a variable: letters, digits and _",
    ),
]

TaskCount = Annotated[int, Field(ge=1, le=_MAX_TASKS)]

TimeLimit = Annotated[int, BeforeValidator(seconds_of)]
"""Seconds; a job file may have "2h", "90m" or Slurm's "1-12:00:00"."""

_OBJECT_NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"

ObjectName = Annotated[
    str,
    _matching(
        _OBJECT_NAME, "must be a name of Kubernetes: lower-case letters, digits, '-' and '.'"
    ),
]

SecretKey = Annotated[
    str,
    _matching(
        f"{_OBJECT_NAME}/[-._a-zA-Z0-9]{{1,253}}",
        "must be 'NAME/KEY': the name of a Secret, and one of its keys",
    ),
]

MountPath = Annotated[
    str, _matching(r"/[^:\r\n]+", "must be the folder of a volume, such as '/data'")
]

_FIELDS_OF_POD = (
    *("containers", "initContainers", "volumes", "restartPolicy", "subdomain"),
    *("terminationGracePeriodSeconds", "serviceAccountName"),
)
"""Fields of a pod that gpuseg sets itself."""


def _pod_fields(pod: dict[str, Any]) -> dict[str, Any]:
    if taken := [name for name in _FIELDS_OF_POD if name in pod]:
        raise ValueError(f"must not have {taken[0]}, which gpuseg sets")
    try:
        json.dumps(pod, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError("must have texts, numbers, true, false, lists and tables only") from None
    return pod


class SubmitSpec(Section):
    """Where `gpuseg submit` sends a job, and what it asks for there.

    `tasks` are the processes (ranks) of the job on all `nodes`. `memory` and `gpus` are those of
    one task. Without `memory` and `time`, the forecast of the job proposes them.

    The keys from `image` on are those of Kubernetes: `claims` has the folder of each claim of a
    volume, `secrets` the place of each variable whose value is secret, and `pod` further fields of
    the pods. `scratch` are bytes of disk, `grace` and `keep` seconds: for a checkpoint before a pod
    is ended, and until a job that has ended is removed.
    """

    kind: Literal["slurm", "kubernetes", "local"] | None = None
    nodes: TaskCount | None = None
    tasks: TaskCount | None = None
    cpus: Annotated[int, Field(ge=1, le=MAX_THREADS)] | None = None
    memory: Memory | None = None
    time: TimeLimit | None = None
    gpus: Annotated[int, Field(ge=0, le=1024)] = 0
    partition: Line | None = None
    account: Line | None = None
    qos: Line | None = None
    constraint: Line | None = None
    extra: list[Line] = []
    skip: list[Line] = []
    setup: list[Line] = []
    environment: dict[EnvironmentName, Line] = {}
    python: Line | None = None
    restarts: Annotated[int, Field(ge=0, le=1000)] = 20
    at_once: TaskCount | None = None
    image: Line | None = None
    namespace: ObjectName | None = None
    service_account: ObjectName | None = None
    claims: dict[ObjectName, MountPath] = {}
    secrets: dict[EnvironmentName, SecretKey] = {}
    scratch: Memory | None = None
    grace: Annotated[int, Field(ge=1, le=86400)] = 60
    keep: Annotated[int, Field(ge=0, le=MAX_SECONDS)] = 86400
    pod: Annotated[dict[str, Any], AfterValidator(_pod_fields)] = {}


class OutputSpec(Section):
    """Path of the output, and what it contains in addition to the segments."""

    path: Text
    overwrite: bool = False
    plots: bool = False
    confidence: bool = False
    storage_options: dict[str, Any] = {}


class ScoredOutputSpec(Section):
    """Path of the output of a scored table, and what it contains in addition to the segments."""

    path: Text
    overwrite: bool = False
    confidence: bool = False
    storage_options: dict[str, Any] = {}


class ModelSpec(Section):
    """Path of the model that scores a table: an output, or its folder `_model`."""

    path: Text
    storage_options: dict[str, Any] = {}
