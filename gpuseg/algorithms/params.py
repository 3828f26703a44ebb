"""Base of the parameters of all algorithms, which the estimators and the job file share.

Numbers have limits far beyond any use, so that a slip of the pen is refused by a rule, and not by
the lack of memory or of time.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_CLUSTERS = 1_000_000
MAX_SWEEP = 1000
"""Most numbers of clusters of one sweep."""

NClusters = Annotated[int, Field(ge=1, le=MAX_CLUSTERS)]
NInit = Annotated[int, Field(ge=1, le=10_000)]
MaxIter = Annotated[int, Field(ge=1, le=1_000_000)]
RandomState = Annotated[int, Field(ge=0, lt=2**63)]


class AlgorithmParams(BaseModel):
    """Parameters of an algorithm: strict types, no unknown names, no changes later."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)
