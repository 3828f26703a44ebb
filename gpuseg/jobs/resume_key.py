"""What an interrupted run must have in common with the one that goes on with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gpuseg import __version__
from gpuseg.printable import shortened

if TYPE_CHECKING:
    from gpuseg.io.file_version import FileVersion
    from gpuseg.io.privacy.pseudonyms import Key
    from gpuseg.io.storage import Storage
    from gpuseg.jobs.plan import RunPlan
    from gpuseg.jobs.run_sections import RunSections

MODEL = "the model"

_INPUT, _ID_KEY = "the files of the input", "the secret key of the ids"

OF_THE_INPUT = (_INPUT, _ID_KEY)
"""What is known only when the input is planned."""

_CHANGES = {
    MODEL: "the model has changed",
    _INPUT: "the files of the input have changed (a file that was written again counts, even with "
    "the same content)",
    _ID_KEY: "the secret key that hashes the ids has changed",
}
"""What is told of hashes that differ."""

_SHOWN_CHARACTERS = 200

_SECTIONS_OF_NO_RESULT = ("runtime", "submit")

_KEYS_OF_NO_RESULT = ("output.path", "output.overwrite")

_OPTIONS = ".storage_options"


def key_of_job(sections: RunSections, others: Mapping[str, Any]) -> dict[str, str]:
    """Return all that the job and its caller say and that has an effect on the result.

    Parameters
    ----------
    others : mapping
        What the caller says beside the sections, by name.
    """
    values = {"gpuseg": __version__, **others, **dict(_flat(sections.redacted()))}
    return {name: json.dumps(value, sort_keys=True, default=str) for name, value in values.items()}


def key_of_input(plan: RunPlan) -> dict[str, str]:
    """Return hashes that tell other files of the input, and another key of ids."""
    return {_INPUT: _of_files(plan), _ID_KEY: _of_key(plan.resolved.id_key)}


def difference(recorded: Mapping[str, str], present: Mapping[str, str]) -> str | None:
    """Return in words how two keys differ first; None if they do not."""
    names = dict.fromkeys([*recorded, *present])
    differing = [name for name in names if recorded.get(name) != present.get(name)]
    for name in differing:
        if name not in _CHANGES:
            before, now = (_shown(key.get(name)) for key in (recorded, present))
            return f"{name} was {before} and is {now}"
    return _CHANGES[differing[0]] if differing else None


def _shown(value: str | None) -> str:
    return "not there" if value is None else shortened(value, _SHOWN_CHARACTERS)


def _of_files(plan: RunPlan) -> str:
    """Return a hash of names, sizes and versions of the files of the input, and of its schema."""
    from gpuseg.jobs.plan import LinesPlan

    digest = hashlib.sha256(_fingerprint(plan).encode())
    step = plan.first_step
    places = [
        (text.converted.source, text.converted.versions)
        for text in plan.text_inputs if text.converted is not None
    ]  # fmt: skip
    if isinstance(step, LinesPlan):
        places.append((step.source.storage, step.source.versions))
        for join in step.joins:
            places.append((join.storage, tuple(zip(join.files, join.versions, strict=True))))
    elif not places:
        files = tuple((file.path, file.version) for file in step.dataset.files)
        places.append((step.dataset.storage, files))
    for storage, versions in places:
        for path, version in versions:
            digest.update(_file(storage, path, version).encode())
    return digest.hexdigest()


def _fingerprint(plan: RunPlan) -> str:
    from gpuseg.jobs.plan import LinesPlan

    step = plan.first_step
    return (step.source if isinstance(step, LinesPlan) else step.dataset).fingerprint()


def _file(storage: Storage, path: str, version: FileVersion) -> str:
    """Return a text for a file; machines number a shared file differently, and know its mtime."""
    marks = version.marks[:1] if version.machine else version.marks
    return repr((storage.relative(path), version.size, marks))


def _of_key(key: Key | None) -> str:
    """Return a few digits that tell another key of ids, and too little to guess it."""
    return "" if key is None else hashlib.sha256(key.probe).hexdigest()[:8]


def _flat(sections: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in sections.items():
        path = f"{prefix}{name}"
        is_left_out = path in (*_SECTIONS_OF_NO_RESULT, *_KEYS_OF_NO_RESULT)
        if is_left_out or path.endswith(_OPTIONS):
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}.")
        else:
            yield path, value
