"""A model, and what is known of the run that it was made in."""

from dataclasses import dataclass

from gpuseg.manifest import Manifest
from gpuseg.models.base import SegmentModel


@dataclass(frozen=True)
class DescribedModel:
    """A model with the manifest of its run; a model in memory has none.

    Attributes
    ----------
    model : SegmentModel
    manifest : Manifest or None
        None where nothing but the model is known.
    """

    model: SegmentModel
    manifest: Manifest | None = None

    @property
    def run_id(self) -> str | None:
        """The run that the model was made in, if that is known."""
        return None if self.manifest is None else self.manifest.run_id

    @property
    def segment_names(self) -> dict[int, str]:
        """The names of the segments that have one."""
        segments = self.manifest.segments if self.manifest else ()
        return {segment.segment: segment.name for segment in segments if segment.name}
