"""Base of the parameters of all algorithms, which the estimators and the job file share."""

from pydantic import BaseModel, ConfigDict


class AlgorithmParams(BaseModel):
    """Parameters of an algorithm: strict types, no unknown names, no changes later."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
