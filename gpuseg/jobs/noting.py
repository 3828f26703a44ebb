"""What a stage shows while an algorithm goes on."""

from gpuseg.engine.lloyd import OnIteration
from gpuseg.runtime.progress import Stage


def noting(stage: Stage) -> OnIteration:
    """Show each pass: the inertia and shift of the first run that still moves."""

    def note(n_iter: int, inertia: float, shift: float) -> None:
        stage.advance(1)
        stage.note(f"inertia {inertia:.6g}  shift {shift:.3g}")

    return note
