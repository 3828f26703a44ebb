"""Write by hand what the libraries of Delta Lake do not write, such as deletion vectors."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_BASE85 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def add_commit(path: Path, *actions: dict[str, Any]) -> None:
    """Write the next version of a Delta table by hand."""
    log = path / "_delta_log"
    version = max(int(file.stem) for file in log.glob("*.json")) + 1
    lines = [json.dumps(action) for action in actions]
    (log / f"{version:020}.json").write_text("\n".join(lines) + "\n")


def actions_of(path: Path, kind: str) -> list[dict[str, Any]]:
    """Return all actions of a kind in the log, the oldest first."""
    logs = sorted((path / "_delta_log").glob("*.json"))
    actions = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    return [action[kind] for action in actions if kind in action]


def needs(*features: str) -> dict[str, Any]:
    """Return the action by which a table needs features of its readers."""
    names = {"readerFeatures": [*features], "writerFeatures": [*features]}
    return {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **names}}


def delete_by_vector(path: Path, add: dict[str, Any], rows: Sequence[int]) -> None:
    """Delete rows of one file of a Delta table by a deletion vector in the log.

    The vector is a serialised array of one Roaring bitmap with one array of 16-bit numbers.
    """
    numbers = b"".join(struct.pack("<H", row) for row in rows)
    bitmap = struct.pack("<IIHHI", 12346, 1, 0, len(rows) - 1, 16) + numbers
    content = struct.pack("<IQI", 1681511377, 1, 0) + bitmap
    padded = content + bytes(-len(content) % 4)
    text = base64.b85encode(padded).translate(bytes.maketrans(_BASE85, _Z85)).decode()
    vector = {
        "storageType": "i", "pathOrInlineDv": text, "sizeInBytes": len(content),
        "cardinality": len(rows),
    }  # fmt: skip
    remove = {"path": add["path"], "deletionTimestamp": 1, "dataChange": True}
    add_commit(
        path,
        needs("deletionVectors"),
        {"remove": {**remove, "partitionValues": add["partitionValues"], "size": add["size"]}},
        {"add": {**add, "deletionVector": vector}},
    )
