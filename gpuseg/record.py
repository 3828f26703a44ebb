"""The base of the records of a manifest, and the types of their values."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gpuseg.errors import DataError

NOISE = -1
"""Number of the segment of customers that belong to no segment."""


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite)]
"""A number that may not exist: NaN and infinity are None."""


SegmentNumber = Annotated[int, Field(ge=NOISE, lt=2**31)]
"""The number of a segment in the output; -1 is noise."""

SegmentKey = Annotated[str, Field(pattern=r"^(-1|0|[1-9][0-9]{0,9})$")]
"""The same as a key of JSON."""

Count = Annotated[int, Field(ge=0, lt=2**63)]
"""A number of customers."""


class Record(BaseModel):
    """Base of all parts: frozen, without unknown keys, documented field by field."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Build the part from its JSON form.

        Raises
        ------
        DataError
            For keys that are missing or unknown, and for values of another type.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            place = f" at '{key}'" if key else ""
            raise DataError(
                "manifest.invalid",
                f"the manifest does not follow its schema{place}",
                rule=first["msg"],
                hint="run the job again",
            ) from None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: dicts, lists, strings, numbers, booleans and None."""
        return self.model_dump(mode="json", exclude_defaults=True)
