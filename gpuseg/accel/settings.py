"""What the caller of `install` chose."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gpuseg.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """See `gpuseg.accel.install`.

    Attributes
    ----------
    min_saving : float
        In seconds.
    mini_batch : bool
    """

    min_saving: float = 0.05
    mini_batch: bool = False

    @property
    def always(self) -> bool:
        """Whether gpuseg computes whatever it can."""
        return self.min_saving == 0


_current = Settings()


def current_settings() -> Settings:
    """Return the settings that hold now."""
    return _current


def change_settings(min_saving: float | None, mini_batch: bool | None) -> None:
    """Change the settings that are not None.

    Raises
    ------
    ConfigError
    """
    global _current
    if min_saving is not None:
        if isinstance(min_saving, bool) or not isinstance(min_saving, int | float):
            min_saving = -1.0
        if not 0 <= min_saving < float("inf"):
            raise ConfigError(
                "min_saving.invalid",
                value=min_saving,
                rule="must be a number of seconds, 0 or more",
                parameter="min_saving",
            )
        _current = replace(_current, min_saving=float(min_saving))
    if mini_batch is not None:
        _current = replace(_current, mini_batch=bool(mini_batch))


def reset_settings() -> None:
    """Return to the defaults."""
    global _current
    _current = Settings()
