"""Which values of a column mean that a customer agrees to be in an audience."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gpuseg import arrow_compute as pc
from gpuseg.arrow import to_numpy
from gpuseg.audience.normalize import TEXT
from gpuseg.errors import ConfigError, DataError, literal
from gpuseg.formatting import count

YES = ("true", "1", "yes", "y", "granted")
NO = ("false", "0", "no", "n", "denied")


@dataclass(frozen=True)
class ConsentRule:
    """The values of consent, and those of none; upper and lower case do not matter.

    Attributes
    ----------
    yes, no : tuple of str
    """

    yes: tuple[str, ...] = YES
    no: tuple[str, ...] = NO

    @classmethod
    def of(cls, yes: Sequence[str], no: Sequence[str]) -> "ConsentRule":
        """Return a rule with values that a user names; without any the usual ones hold.

        Raises
        ------
        ConfigError
            For a value that means both, and for blank text as consent.
        """
        named = tuple(value.strip().lower() for value in yes)
        refused = tuple(value.strip().lower() for value in no)
        usual = tuple(value for value in NO if value not in named)
        rule = cls(named or tuple(value for value in YES if value not in refused), refused or usual)
        if "" in rule.yes:
            raise ConfigError(
                "audience.blank_consent", "is blank, as a missing value", value="",
                rule="a missing value is no consent", hint="leave out this --consent-yes",
            )  # fmt: skip
        if both := [value for value in rule.yes if value in rule.no]:
            raise ConfigError(
                "audience.consent_twice", "means consent and refusal at once", value=both[0],
                hint="name it with --consent-yes or with --consent-no",
            )  # fmt: skip
        return rule

    def given(self, values: pa.Array, column: str, describe: Callable[[int], str]) -> pa.Array:
        """Return who consents, bool (n,); a missing value is no consent.

        Raises
        ------
        DataError
            For a value that is neither: its row is told, and not the value.
        """
        words = pc.utf8_lower(pc.utf8_trim_whitespace(values))
        consents = pc.is_in(words, value_set=pa.array(self.yes, TEXT))
        refuses = pc.is_in(words, value_set=pa.array((*self.no, ""), TEXT))
        is_known = to_numpy(pc.or_(pc.or_(consents, refuses), words.is_null()))
        unknown = np.flatnonzero(~is_known)
        if unknown.size:
            raise DataError(
                "audience.unknown_consent",
                f"column '{column}' has {count(unknown.size, 'value')} that mean neither consent "
                f"nor refusal, the first in {describe(int(unknown[0]))}",
                rule=f"consent is {literal(', '.join(self.yes))}; refusal is "
                f"{literal(', '.join(self.no))} or a missing value",
                hint="name other values with --consent-yes and --consent-no",
            )
        return consents
