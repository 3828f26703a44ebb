"""The levels of segments: the finest one, and the others of a hierarchy."""

from gpuseg.lineage.ancestry import first_lineage
from gpuseg.models.base import SegmentModel
from gpuseg.output_columns import SEGMENT
from gpuseg.refresh_record import Lineage


def levels_of(model: SegmentModel) -> dict[str, int]:
    """Return the number of segments by column of the output; `segment` comes first."""
    levels = {name: int(name.rpartition("_")[2]) for name in model.level_columns()}
    return {SEGMENT: model.n_clusters, **levels}


def first_lineages(model: SegmentModel, run_id: str) -> tuple[Lineage, ...]:
    """Return the lineage, by level, of segments that no refresh has numbered."""
    return tuple(
        first_lineage(model.identity.of(column, k), run_id, column)
        for column, k in levels_of(model).items()
    )
