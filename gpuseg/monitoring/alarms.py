"""When drift is too large: a measure is beyond its threshold, and beyond chance."""

from collections.abc import Callable
from dataclasses import dataclass, field

from gpuseg.drift_record import Alarm, DriftThresholds

FALSE_ALARMS = 1e-4
"""The share of comparisons with an alarm, at most about, where nothing has changed."""


@dataclass
class Alarms:
    """Compares measures with their thresholds, and collects the alarms.

    Attributes
    ----------
    thresholds : DriftThresholds
    n_tests : int
        How many measures are judged; they share the level of the whole comparison.
    raised : list of Alarm
    """

    thresholds: DriftThresholds
    n_tests: int
    raised: list[Alarm] = field(default_factory=list)

    @property
    def level(self) -> float:
        """The probability of a false alarm of one measure."""
        return FALSE_ALARMS / max(self.n_tests, 1)

    def judge(
        self,
        measure: str,
        value: float,
        is_beyond_chance: Callable[[], bool],
        sentence: Callable[[], str],
        name: str | None = None,
    ) -> bool:
        """Return whether a measure is beyond its threshold and chance; add the alarm if it is.

        Parameters
        ----------
        measure : str
            The name of the threshold.
        value : float
        is_beyond_chance : callable
            It is called where the value is beyond the threshold.
        sentence : callable
            Returns what is said of it.
        name : str, optional
            Feature or column.
        """
        threshold: float = getattr(self.thresholds, measure)
        if value < threshold or not is_beyond_chance():
            return False
        alarm = Alarm(
            measure=measure, name=name, value=value, threshold=threshold, sentence=sentence()
        )
        self.raised.append(alarm)
        return True
