"""The levels of segments: the finest one, and the others of a hierarchy."""

from collections import Counter

from gpuseg.lineage.ancestry import first_lineage
from gpuseg.models.base import SegmentModel
from gpuseg.output_columns import SEGMENT
from gpuseg.record import NOISE
from gpuseg.refresh_record import Lineage


def first_lineages(model: SegmentModel, run_id: str) -> tuple[Lineage, ...]:
    """Return the lineage, by level, of segments that no refresh has numbered."""
    return tuple(
        first_lineage(model.identity.of(column, k), run_id, column)
        for column, k in model.n_clusters_by_column().items()
    )


def sizes_at_fit(model: SegmentModel, column: str) -> dict[int, int]:
    """Return the rows of all segments of a level at the fit; empty where they are not known."""
    if model.reference is None:
        return {}
    sizes = zip(model.reference.segments.tolist(), model.reference.sizes.tolist(), strict=True)
    points = model.segment_points()
    if column == SEGMENT or points is None:
        return dict(sizes)
    pairs = zip(*(points.segment_of[name].tolist() for name in (SEGMENT, column)), strict=True)
    parent = dict(pairs)
    of_level: Counter[int] = Counter()
    for segment, n_rows in sizes:
        of_level[parent.get(segment, NOISE)] += n_rows
    return dict(of_level)
