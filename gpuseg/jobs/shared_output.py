"""Notice, at the start of a run on several machines, an output that they do not share."""

from gpuseg.errors import ResourceError
from gpuseg.io.output.base import Staging
from gpuseg.runtime.cluster import ClusterSpec

_MOST_NAMES = 8


def refuse_output_not_shared(cluster: ClusterSpec, staging: Staging) -> None:
    """Refuse an output whose folder some rank does not see. Other clusters are not asked.

    Raises
    ------
    ResourceError
    """
    if cluster.cluster != "ranks" or not staging.storage.is_local:
        return
    from gpuseg.runtime.ranks.rank_zero import current_ranks

    if unseen := current_ranks().blind_to(staging.folder):
        names = ", ".join(unseen[:_MOST_NAMES])
        more = f" and {len(unseen) - _MOST_NAMES} more" if len(unseen) > _MOST_NAMES else ""
        raise ResourceError(
            "output.not_shared",
            f"{staging.folder}: {names}{more} cannot see the folder that rank 0 has made",
            hint="name an output on a file system that all machines share",
            parameter="output_path",
        )
