"""Give the segments of a fit the numbers that they keep from one refresh to the next."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gpuseg.algorithms.data_statistics import DataStatistics
from gpuseg.algorithms.kmeans.fit import assign_rows
from gpuseg.models.base import SegmentModel
from gpuseg.models.hierarchical import HierarchicalModel, level_column
from gpuseg.models.identity import SegmentIdentity
from gpuseg.models.kmeans import KMeansModel
from gpuseg.output_columns import SEGMENT
from gpuseg.runtime.executor import Executor, TaskContext
from gpuseg.segmentation.base import SegmentationResult
from gpuseg.sharding.shard import Shard


def renumber(
    executor: Executor,
    backend: str,
    statistics: DataStatistics,
    result: SegmentationResult,
    identity: SegmentIdentity,
) -> SegmentationResult:
    """Return a segmentation whose segments have other numbers, and give these to all rows.

    Labels in the shards are what the returned model predicts. Where centers of k-means change
    their order, all rows are assigned again: of centers at the same distance the first one is the
    nearest. Of `alternatives` only the model itself has other numbers.

    Parameters
    ----------
    backend : str
        Of the fit: the rows may be in the memory of its device.
    statistics : DataStatistics
        Of the rows of the shards.
    result : SegmentationResult
        As the algorithm returns it, with segments numbered from 0 on.
    identity : SegmentIdentity
        Numbers by column of the output: of ``segment``, and of each level if there are several.

    Raises
    ------
    TypeError
        If the class of the model has no field `identity`.
    """
    model = result.model.with_identity(identity)
    numbers = replace(model.identity, lineage=())
    asked_for = identity.of(SEGMENT, model.n_clusters)
    if isinstance(model, KMeansModel) and not np.array_equal(model.segment_ids, asked_for):
        sums = assign_rows(executor, backend, statistics, model.centers)
        result = replace(result, sizes=sums.sizes, centers=model.centers.values)
    executor.apply(_number_labels, numbers, model.level_columns())
    segments = numbers.numbered(SEGMENT, np.array(result.segments, np.int32))
    order = np.lexsort((segments, segments < 0))  # noise is last
    return replace(
        result.with_model(model),
        segments=segments[order].tolist(),
        sizes=result.sizes[order],
        centers=result.centers[order],
        facts={**result.facts, **_numbered_facts(result.facts, model)},
        runner_up=None if result.runner_up is None else model.runner_up(),
    )


def _number_labels(
    shard: Shard, context: TaskContext, identity: SegmentIdentity, levels: Sequence[str]
) -> None:
    """Replace the positions of segments by their numbers, also at each level.

    Labels that were lost with a worker stay so: whoever reads them starts the fit again.
    """
    if shard.labels is None:
        return
    labels = identity.numbered(SEGMENT, shard.labels)
    if levels:
        shard.labels_by_model = [
            identity.numbered(column, label)
            for column, label in zip(levels[:-1], shard.labels_by_model[:-1], strict=True)
        ] + [labels]
    elif shard.labels_by_model:
        shard.labels_by_model = [*shard.labels_by_model[:-1], labels]
    shard.labels = labels


def _numbered_facts(facts: Mapping[str, Any], model: SegmentModel) -> dict[str, Any]:
    """Return the facts of a hierarchy that speak of segments.

    Merges have the places of the segments in the order of their numbers, `parents` have numbers.
    """
    if not isinstance(model, HierarchicalModel):
        return {}
    order = np.argsort(model.segment_ids)
    place = np.argsort(order).tolist()
    k = len(place)

    def merged(row: Sequence[float]) -> list[float]:
        pair = sorted(place[int(one)] if one < k else one for one in row[:2])
        return [*map(float, pair), *row[2:]]

    return {
        "parents": {
            level: model.identity.numbered(
                level_column(int(level)), np.array(parents, np.int32)[order]
            ).tolist()
            for level, parents in facts["parents"].items()
        },
        "merges": [merged(row) for row in facts["merges"]],
    }
