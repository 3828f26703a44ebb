"""Output folders with damaged files: manifests, models and parts."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fuzzing.data_files import spoilt_file
from fuzzing.models import (
    CHANGES,
    change_bytes,
    is_small_file,
    remove_file,
    replace_by_special_file,
)
from fuzzing.mutations import HOSTILE_TEXTS, mutated_bytes, mutated_tree

_MANIFEST = "_manifest.json"

_NAMES_OF_PARTS = (
    *HOSTILE_TEXTS, "../shared/in.parquet", "_model/model.json", "/dev/zero", ".", "..",
    "http://127.0.0.1:9/x.parquet", "part-0.parquet::zip://x", "*",
)  # fmt: skip


def read_output(folder: Path) -> dict[str, bytes]:
    """Return the files of an output by their relative paths."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write_output(files: dict[str, bytes], folder: Path) -> None:
    """Write the files of an output."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def damage_output(draw: random.Random, folder: Path) -> None:
    """Damage one or two files of an output."""
    for _ in range(draw.choice((1, 1, 1, 2))):
        draw.choices((_damage_manifest, _damage_parts, _damage_model, _damage_any), (5, 3, 3, 1))[
            0
        ](draw, folder)


def _damage_manifest(draw: random.Random, folder: Path) -> None:
    path = folder / draw.choice((_MANIFEST, _MANIFEST, "_fit_manifest.json"))
    if not is_small_file(path):
        return
    try:
        tree = json.loads(path.read_bytes())
    except ValueError:
        return
    match draw.randrange(6):
        case 0:
            path.write_bytes(mutated_bytes(draw, path.read_bytes()))
            return
        case 1 if isinstance(tree, dict):
            tree["parts"] = draw.choice(([], tree.get("parts", [])[:1] * 2))
        case 2 if isinstance(tree, dict) and isinstance(tree.get("parts"), list):
            tree["parts"] = [
                {**part, "name": draw.choice(_NAMES_OF_PARTS)}
                for part in tree["parts"]
                if isinstance(part, dict)
            ]
        case 3 if isinstance(tree, dict):
            key = draw.choice(sorted(tree) or [""])
            tree[key] = mutated_tree(draw, tree.get(key))
        case _:
            tree = mutated_tree(draw, tree)
    path.write_text(json.dumps(tree), encoding="utf-8")


def _damage_parts(draw: random.Random, folder: Path) -> None:
    """Write other rows, types or bytes in place of a part."""
    paths = [path for path in sorted(folder.glob("part-*.parquet")) if is_small_file(path)]
    if not paths:
        return
    path = draw.choice(paths)
    try:
        table = pq.read_table(pa.BufferReader(path.read_bytes()))
    except (pa.ArrowException, OSError):
        return
    if draw.random() < 0.2:
        pq.write_table(table.select(table.column_names[: draw.randrange(3)]), path)
        return
    written = path.parent / "a.parquet"
    spoilt_file(draw, path.parent, table, ".parquet")
    written.replace(path)


def _damage_model(draw: random.Random, folder: Path) -> None:
    changes, weights = zip(*CHANGES.items(), strict=True)
    draw.choices(changes, weights)[0](draw, folder / "_model")


def _damage_any(draw: random.Random, folder: Path) -> None:
    draw.choice((change_bytes, remove_file, replace_by_special_file))(draw, folder)
