"""Work is repeated where a worker was lost, a few times only."""

import pytest
from support.errors import raises

from gpuseg.runtime.executor import CacheLost
from gpuseg.runtime.retry import MAX_ATTEMPTS, retry_if_lost


class Flaky:
    """Loses a worker in the first calls."""

    def __init__(self, losses: int) -> None:
        self.losses, self.calls = losses, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.losses:
            raise CacheLost
        return "result"


@pytest.mark.parametrize("losses", range(MAX_ATTEMPTS))
def test_work_is_repeated_until_no_worker_is_lost(losses: int) -> None:
    work, lines = Flaky(losses), list[str]()
    assert retry_if_lost(work, lines.append) == "result"
    assert (work.calls, len(lines)) == (losses + 1, losses)


def test_work_is_not_repeated_forever() -> None:
    work = Flaky(100)
    with raises("worker.lost_repeatedly") as error:
        retry_if_lost(work)
    assert "`" not in error.value.hint  # an estimator has no keys of a job
    assert work.calls == MAX_ATTEMPTS


def test_other_errors_are_not_caught() -> None:
    with pytest.raises(ZeroDivisionError):
        retry_if_lost(lambda: 1 // 0)
