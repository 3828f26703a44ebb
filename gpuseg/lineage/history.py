"""One history of several outputs."""

from collections.abc import Iterable, Sequence
from itertools import chain

from gpuseg.manifest import Manifest, ScoresManifest
from gpuseg.refresh_record import HistoryEntry
from gpuseg.run_history import history_of


def merged_history(manifests: Iterable[Manifest | ScoresManifest]) -> tuple[HistoryEntry, ...]:
    """Return the runs of outputs and those that they carry, each once, by their start.

    Where outputs carry a run that another one has made, the entry is that of the latter. Runs that
    started in the same second stay in the order in which outputs carry them.
    """
    entries: dict[str, HistoryEntry] = {}
    histories = [history_of(manifest) for manifest in manifests]
    for entry in chain(*(history[:-1] for history in histories), *(h[-1:] for h in histories)):
        entries[entry.run_id] = entry
    return tuple(sorted(entries.values(), key=lambda entry: entry.started))


def broken_descent(entries: Sequence[HistoryEntry]) -> dict[str, str]:
    """Return where the line of descent is broken: a sentence by identifier of the run.

    The numbers of segments mean the same only along one line.
    """
    sentences: dict[str, str] = {}
    seen: set[str] = set()
    for i, entry in enumerate(entries):
        if entry.from_run_id is None and i:
            sentences[entry.run_id] = (
                f"{entry.run_id} continues no other run: from here on, numbers are those of other "
                "segments"
            )
        elif entry.from_run_id is not None and entry.from_run_id not in seen:
            sentences[entry.run_id] = (
                f"{entry.run_id} continues {entry.from_run_id}, which is not among these outputs"
            )
        seen.add(entry.run_id)
    return sentences
