"""Build the manifest of a run from what its stages returned."""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from gpuseg import __version__, manifest
from gpuseg.backends.feature_transform import TRANSFORMS, YEO_JOHNSON
from gpuseg.io.output.assignments import Part
from gpuseg.io.output.base import SIDECAR_SUFFIX
from gpuseg.jobs.environment import versions
from gpuseg.jobs.job import JobSpec
from gpuseg.jobs.plan import SegmentationPlan
from gpuseg.jobs.reader_choice import Reader
from gpuseg.jobs.refresh.continuation import SegmentLife
from gpuseg.jobs.run_facts import devices_of, rounded_seconds
from gpuseg.jobs.segment_centers import centers_in_units, deviations, scaled_centers
from gpuseg.jobs.stages.profile import ProfileInputs, SegmentProfiles, describe_segments
from gpuseg.lineage.changes import CHANGES
from gpuseg.lineage.names import carried_names
from gpuseg.preprocessing.encoding.encoder import MISSING, OTHER, Encoder
from gpuseg.preprocessing.fit import PreprocessingFit
from gpuseg.profiling.naming import name_segments
from gpuseg.segmentation.base import SegmentationResult


@dataclass(frozen=True)
class ManifestInputs:
    """Everything that a manifest is built from.

    Attributes
    ----------
    spec : JobSpec
    plan : SegmentationPlan
    reader : Reader
    preprocessing : PreprocessingFit
    result : SegmentationResult
    digest : int
        Hash of the rows as read.
    row_storage : manifest.RowStorage
    warnings : sequence of str
    profile_inputs : ProfileInputs
    transactions : manifest.Transactions or None
    text_files : sequence of manifest.TextFiles
        Of `[input]`.
    encoders : sequence of Encoder
    parts : sequence of Part
        Empty until they are written.
    example_ids : ChunkedArray or None
        Ids of the examples, once they are written; None if the data has none.
    older_names : mapping of int to str
        The names of the older segments, if an older output is continued.
    keeps_names : bool
        Whether these stay in any case, as the rows are only the newest ones of the segments.
    executor : mapping
        What `Executor.describe` returns after that: it counts the shards of lost workers.
    """

    spec: JobSpec
    plan: SegmentationPlan
    reader: Reader
    preprocessing: PreprocessingFit
    result: SegmentationResult
    digest: int
    row_storage: manifest.RowStorage
    warnings: Sequence[str]
    profile_inputs: ProfileInputs
    transactions: manifest.Transactions | None = None
    text_files: Sequence[manifest.TextFiles] = ()
    encoders: Sequence[Encoder] = ()
    parts: Sequence[Part] = ()
    example_ids: pa.ChunkedArray | None = None
    older_names: Mapping[int, str] = field(default_factory=dict)
    keeps_names: bool = False
    executor: Mapping[str, Any] = field(default_factory=dict)

    @property
    def averages_are_customers(self) -> bool:
        """Whether averages of segments are averages of customers: not weighted, not directions."""
        return self.plan.dataset.weight is None and not self.preprocessing.feature_transform.unit


def profile_segments(inputs: ManifestInputs) -> SegmentProfiles:
    """Return the segments with all that the manifest says of them.

    They have names, sentences and intervals where their averages are those of customers.
    """
    segments, with_names = _segments(inputs), inputs.averages_are_customers
    previous_names: dict[int, str] = {}
    if with_names:
        segments, previous_names = _named(inputs, segments)
    file = inputs.plan.dataset.files[0]
    profiles = describe_segments(
        inputs.profile_inputs, inputs.preprocessing, inputs.encoders, segments, with_names,
        inputs.spec.comparison_threshold, [*file.schema.names, *file.constants],
    )  # fmt: skip
    return replace(profiles, previous_names=previous_names)


def _named(
    inputs: ManifestInputs, segments: list[manifest.Segment]
) -> tuple[list[manifest.Segment], dict[int, str]]:
    """Return the segments with names, and older names of those that have another one now."""
    features = _features(inputs)
    names = name_segments(segments, features)
    named = [
        segment.model_copy(update=name._asdict())
        for segment, name in zip(segments, names, strict=True)
    ]
    if not inputs.older_names:
        return named, {}
    if inputs.keeps_names:
        older = inputs.older_names
        return [s.model_copy(update={"name": older.get(s.segment, s.name)}) for s in named], {}
    carried, previous = carried_names(named, inputs.older_names, features)
    return [s.model_copy(update={"name": carried[s.segment]}) for s in named], previous


def build_manifest(
    inputs: ManifestInputs,
    profiles: SegmentProfiles,
    run_id: str,
    started: datetime,
    seconds: Mapping[str, float],
    failures: Sequence[manifest.DescriptionFailure] = (),
    life: SegmentLife | None = None,
) -> manifest.Manifest:
    """Return the manifest; `life` is what it says of the life of the segments."""
    backend, reader, scope = inputs.plan.backend, inputs.reader, inputs.profile_inputs.scope
    return manifest.Manifest(
        gpuseg=__version__,
        run_id=run_id,
        started=f"{started:%Y-%m-%dT%H:%M:%SZ}",
        job=inputs.spec.redacted(inputs.plan.dataset.features),
        transactions=inputs.transactions,
        input=_input(inputs),
        backend=manifest.BackendSummary(name=backend.name, reason=backend.reason),
        reader=manifest.ReaderSummary(
            name=reader.name, reason=reader.reason, by_arrow=dict(reader.by_arrow)
        ),
        devices=devices_of(inputs.executor, inputs.plan.backend.name),
        executor=manifest.ExecutorSummary(
            **{**inputs.executor, "machines": tuple(inputs.executor["machines"])},
            row_storage=inputs.row_storage,
        ),
        versions={"python": platform.python_version(), **versions()},
        result=manifest.AlgorithmResult.from_json(
            {"title": inputs.spec.algorithm.title, **inputs.result.facts}
        ),
        sweep=tuple(map(manifest.SweepRow.from_json, inputs.result.sweep)),
        seconds=rounded_seconds(seconds),
        features=_features(inputs),
        other_features=scope.n_features - len(scope.features),
        preparation=_preparation(inputs),
        profile=profiles.profile,
        audit=profiles.audit,
        segments=profiles.segments,
        other_segments=scope.others,
        failures=tuple(failures),
        parts=tuple(
            manifest.PartSummary(name=part.name, rows=part.rows, bytes=part.bytes)
            for part in inputs.parts
        ),
        sidecars=_sidecars(inputs, life),
        warnings=tuple(inputs.warnings),
        **({} if life is None else vars(life)),
    )


def _sidecars(inputs: ManifestInputs, life: SegmentLife | None) -> tuple[manifest.Sidecar, ...]:
    """Return the Parquet files of the output that are not parts of it."""
    contents = {}
    if life is not None and life.refresh is not None and life.refresh.changes:
        contents[CHANGES] = "customers whose segment changed, who came or who left"
    if inputs.transactions is not None:  # the rows that are clustered are in the output
        contents[inputs.plan.dataset.storage.url] = "features of the customers"
    if any(name.endswith(SIDECAR_SUFFIX) for name in inputs.result.files):
        contents["_model"] = "rows of the model, in scaled units, with their segments"
    return tuple(
        manifest.Sidecar(path=f"{folder}/*{SIDECAR_SUFFIX}", contents=text)
        for folder, text in contents.items()
    )


def _input(inputs: ManifestInputs) -> manifest.Input:
    dataset, rows = inputs.plan.dataset, inputs.preprocessing.raw.rows
    return manifest.Input(
        path=dataset.storage.shown_url,
        files=len(dataset.files),
        row_groups=dataset.row_groups,
        rows=rows,
        rows_dropped=dataset.rows - rows,
        weight=dataset.weight,
        fingerprint=manifest.Fingerprint(
            files=dataset.fingerprint(), content=_content_hash(inputs)
        ),
        text_files=tuple(inputs.text_files),
    )


def _content_hash(inputs: ManifestInputs) -> str:
    """Hash names, features and weights as read; it does not depend on how the rows are filed."""
    dataset = inputs.plan.dataset
    content = repr((dataset.features, dataset.weight, dataset.rows, inputs.digest))
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


def _features(inputs: ManifestInputs) -> dict[str, manifest.FeatureSummary]:
    """Return the features that are described."""
    fit, described = inputs.preprocessing, inputs.profile_inputs.scope.features
    p, raw = fit.feature_transform, fit.raw
    mean = p.undo_transform(fit.mean)
    phrases = _category_phrases(inputs.encoders)
    frequencies = {e.column for e in inputs.encoders if e.kind == "frequency"}
    orders = {e.column: e.categories for e in inputs.encoders if e.kind == "ordinal"}
    # Minimum and maximum are taken before a Yeo-Johnson transform, after any other.
    transform = np.where(p.transform == YEO_JOHNSON, 0, p.transform)
    to_input = replace(p, transform=transform).undo_transform
    low, high = to_input(np.array([raw.minimum, raw.maximum]))
    fill, clip, shift = p.add_origin(p.fill), p.add_origin(p.bounds()), p.add_origin(p.shift)
    powers = p.powers()
    return {
        (name := fit.features[f]): manifest.FeatureSummary(
            mean=float(mean[f]),
            std=float(fit.std[f]),
            min=float(low[f]),
            max=float(high[f]),
            missing=int(raw.counts[0, f]),
            outliers=float(fit.outliers[f]),
            fill=None if np.isnan(fill[f]) else float(fill[f]),
            clip=manifest.Bounds(*clip[:, f].tolist()) if np.isfinite(clip[:, f]).all() else None,
            transform=TRANSFORMS[int(p.transform[f])],
            power=float(powers[f]) if p.transform[f] == YEO_JOHNSON else None,
            shift=float(shift[f]),
            scale=float(p.scale[f]),
            category=phrases.get(name),
            is_frequency=name in frequencies,
            categories=orders.get(name, ()),
        )
        for f in described.tolist()
    }


def _category_phrases(encoders: Sequence[Encoder]) -> dict[str, str]:
    """Return a phrase for each feature that is 1 for a category or a missing value."""
    phrases: dict[str, str] = {}
    for e in encoders:
        if e.kind == "is missing":
            phrases[e.feature_names()[0]] = f"{e.column} missing"
        elif e.kind == "onehot":
            phrases.update((f"{e.column}={value}", f"{e.column} {value}") for value in e.categories)
            phrases.update({f"{e.column}={OTHER}": f"other {e.column}"} if e.other else {})
            phrases.update({f"{e.column}={MISSING}": f"{e.column} missing"} if e.missing else {})
    return phrases


def _preparation(inputs: ManifestInputs) -> manifest.Preparation:
    fit, prepare = inputs.preprocessing, inputs.spec.prepare
    components = fit.components
    return manifest.Preparation(
        missing=prepare.missing,
        clip_quantiles=None if prepare.clip is None else manifest.Bounds(*prepare.clip),
        scale=prepare.scale,
        encoded=tuple(
            manifest.EncodedColumn(
                column=e.column,
                encoding=e.kind,
                features=tuple(e.feature_names()),
                categories=len(e.categories),
            )
            for e in inputs.encoders
            if e.kind != "number"
        ),
        dropped=dict(fit.dropped),
        redundant=tuple(fit.redundant),
        pca=None
        if components is None
        else manifest.PrincipalComponents(
            n_components=len(components.shares),
            variance_kept=float(components.shares.sum()),
            explained_variance_ratio=tuple(components.shares.tolist()),
        ),
    )


def _segments(inputs: ManifestInputs) -> list[manifest.Segment]:
    """Return the segments that are described, with size, center and deviation."""
    fit, result, scope = inputs.preprocessing, inputs.result, inputs.profile_inputs.scope
    names = [fit.features[f] for f in scope.features.tolist()]
    scaled = scaled_centers(fit, result)[scope.rows]
    centers = centers_in_units(fit, scaled)[:, scope.features]
    deviation = deviations(fit, scaled)[:, scope.features]
    total = int(result.sizes.sum())
    sizes = result.sizes[scope.rows].tolist()
    return [
        manifest.Segment(
            segment=segment,
            size=size,
            share=float(size / total),
            center=dict(zip(names, center.tolist(), strict=True)),
            deviation=dict(zip(names, differences.tolist(), strict=True)),
            rule=None,
        )
        for segment, size, center, differences in zip(
            scope.segments, sizes, centers, deviation, strict=True
        )
    ]


def bare_segments(inputs: ManifestInputs) -> SegmentProfiles:
    """Return the segments with their sizes only, for a run that could not describe them."""
    scope, sizes = inputs.profile_inputs.scope, inputs.result.sizes
    total = int(sizes.sum())
    return SegmentProfiles(
        None,
        tuple(
            manifest.Segment(
                segment=segment, size=size, share=size / total, center={}, deviation={}, rule=None
            )
            for segment, size in zip(scope.segments, sizes[scope.rows].tolist(), strict=True)
        ),
    )
