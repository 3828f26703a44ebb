"""Changes by others in the output's folder between the start of a run and its end."""

from pathlib import Path

import pytest
from support.errors import raises

from gpuseg.errors import ConfigError
from gpuseg.io.output.open import open_output
from gpuseg.io.storage import Storage

MANIFEST = b'{"gpuseg": "0.1.0", "run_id": "x", "parts": []}'


def target(path: Path) -> Storage:
    return Storage.from_url(str(path), {}, "output.path")


@pytest.mark.slow
@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_others_stay(tmp_path: Path, exists: bool, overwrite: bool) -> None:
    out = tmp_path / "out"
    if exists:
        out.mkdir()
    with open_output(target(out), overwrite, "run-1") as output:
        out.mkdir(exist_ok=True)
        (out / "precious.txt").write_text("precious")
        with pytest.raises(OSError, match="not empty"):
            output.publish([])
    assert [path.name for path in out.iterdir()] == ["precious.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_output_that_became_another_folder_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "_manifest.json").write_bytes(MANIFEST)
    with open_output(target(out), True, "run-1") as output:
        (out / "_manifest.json").unlink()
        (out / "precious.txt").write_text("precious")
        with raises("output.not_gpuseg", ConfigError):
            output.publish([])
    assert [path.name for path in out.iterdir()] == ["precious.txt"]


def test_two_runs_stage_at_the_same_time(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_output(target(out), False, "run-1") as first:
        with open_output(target(out), False, "run-2") as second:
            second.write("_manifest.json", MANIFEST)
            second.publish([])
        assert Path(first.staging.folder).is_dir()
        with pytest.raises(OSError, match="not empty"):
            first.publish([])
    assert (out / "_manifest.json").read_bytes() == MANIFEST
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
