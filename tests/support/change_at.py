"""A display of the progress that changes something as a stage begins."""

from collections.abc import Callable

from gpuseg.progress import Progress, Stage


class ChangeAt(Progress):
    """Change something as a stage begins; a display sees when that is."""

    def __init__(self, name: str, change: Callable[[], object]) -> None:
        super().__init__()
        self._name, self._change = name, change

    def _open(self, name: str, total: int | None, unit: str) -> Stage:
        if name == self._name:
            self._name = ""
            self._change()
        return super()._open(name, total, unit)
