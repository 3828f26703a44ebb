"""What stores a registered model: its versions, and the record of them."""

from collections.abc import Callable
from typing import Protocol

from gpuseg.io.storage import Storage
from gpuseg.models.registered_models import RegisteredModel

Change = Callable[[RegisteredModel], RegisteredModel]
"""From a record to the record that is to replace it; it may be called several times."""


class VersionStore(Protocol):
    """The folder of a registered model."""

    def read(self) -> RegisteredModel | None:
        """Return the record; None if nothing was ever added.

        Raises
        ------
        DataError, ResourceError
        """
        ...

    def add(
        self,
        copy: Callable[[Storage], None],
        record: Callable[[RegisteredModel, int], RegisteredModel],
    ) -> int:
        """Add a version and return its number; it is visible once it is in the record.

        Parameters
        ----------
        copy : callable
            Writes the files of the version to a folder.
        record : callable
            Returns the record with the new version, from the record before and the number of the
            version. It may be called several times.

        Raises
        ------
        DataError, ResourceError
        """
        ...

    def update(self, change: Change) -> RegisteredModel:
        """Replace the record in one step, and return it; changes of others are not lost.

        Raises
        ------
        DataError, ResourceError
        """
        ...


def next_number(registered: RegisteredModel, names: list[str]) -> int:
    """Return a number that no version has, or had, given the names in the folder."""
    numbers = [int(name) for name in names if name.isdecimal() and len(name) < 10]
    return max([registered.last_version, *numbers]) + 1
