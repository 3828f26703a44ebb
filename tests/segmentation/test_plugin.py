"""An algorithm of another package: one file with parameters, algorithm and model, and no edit."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from support.errors import raises
from support.helpers import call, customers, cut, job, read_parts, toml, write_files

import gpuseg
from gpuseg.backends.types import Centers
from gpuseg.errors import ConfigError, DataError, GpusegError, ResourceError
from gpuseg.jobs.refresh.run_refresh import refresh
from gpuseg.model_selection.confidence import RunnerUp
from gpuseg.models import base, plugins
from gpuseg.models.base import SegmentModel, model_files, register_model
from gpuseg.models.folder import ModelFolder
from gpuseg.preprocessing.pipeline import FeaturePipeline
from gpuseg.runtime.executor import TaskContext
from gpuseg.segmentation import registry
from gpuseg.segmentation.base import (
    ColumnPlan,
    FitContext,
    SegmentationAlgorithm,
    SegmentationResult,
    SegmentSpec,
)
from gpuseg.sharding import column_passes as columns
from gpuseg.sharding.shard import Shard

# The plug-in: bands of the first column, cut at its quantiles.

BANDS = 4


class BandsSpec(SegmentSpec):
    """Parameters of the bands."""

    algorithm: Literal["bands"] = "bands"
    n_bands: int = BANDS


@dataclass(frozen=True)
class BandsModel(SegmentModel):
    """The middle of each band on the first column."""

    name: ClassVar[str] = "bands"

    pipeline: FeaturePipeline
    middles: npt.NDArray[np.float64]

    @property
    def n_clusters(self) -> int:
        return len(self.middles)

    def _assign(
        self, z: npt.NDArray[np.float32], backend: str, context: TaskContext, with_distance: bool
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64] | None]:
        labels = nearest(z[:, 0], self.middles)
        return labels, np.abs(z[:, 0] - self.middles[labels]) if with_distance else None

    def to_files(self) -> dict[str, bytes]:
        return model_files(self, {}, {"middles": self.middles})

    @classmethod
    def from_files(cls, folder: ModelFolder) -> BandsModel:
        tensors = folder.tensors()
        pipeline = FeaturePipeline.from_json(folder.description(), tensors)
        return cls(pipeline, tensors["middles"])


class Bands(SegmentationAlgorithm[BandsSpec]):
    """Bands of equal numbers of customers."""

    name = "bands"
    title = "Bands of the first feature"
    spec = BandsSpec
    has_confidence = True

    def check(self, spec: BandsSpec, columns: ColumnPlan) -> None:
        if spec.n_bands < 2:
            raise ConfigError(
                "n_bands.too_few", "one band is no segmentation", value=spec.n_bands,
                parameter="n_bands",
            )  # fmt: skip

    def fit(self, spec: BandsSpec, context: FitContext) -> SegmentationResult:
        n_rows = context.statistics.n_rows
        sample = np.concatenate(
            context.executor.map(columns.sample, context.backend, n_rows, n_rows)
        )
        middles = np.quantile(sample[:, 0], (np.arange(spec.n_bands) + 0.5) / spec.n_bands)
        counts = context.executor.apply(assign_bands, middles)
        means = np.zeros((spec.n_bands, sample.shape[1]))
        means[:, 0] = middles
        context.warn("bands use one feature only")
        return SegmentationResult(
            range(spec.n_bands),
            np.sum(counts, axis=0),
            Centers(means, np.zeros(sample.shape[1], np.float32)).values,
            BandsModel(context.pipeline, middles),
            {"algorithm": "bands", "n_clusters": spec.n_bands, "middles": middles.tolist()},
            runner_up=RunnerUp(means),
        )


def nearest(
    values: npt.NDArray[np.float32], middles: npt.NDArray[np.float64]
) -> npt.NDArray[np.int32]:
    labels: npt.NDArray[np.int32] = np.abs(values[:, None] - middles).argmin(axis=1)
    return labels.astype(np.int32)


def assign_bands(
    shard: Shard, context: TaskContext, middles: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    x = np.concatenate([block.x for block in shard.map_blocks(context, lambda block: block)])
    shard.labels = nearest(x[:, 0], middles)
    shard.distance = np.abs(x[:, 0] - middles[shard.labels]).astype(np.float32)
    return np.bincount(shard.labels, minlength=len(middles))


# Its use.


@pytest.fixture
def bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the plug-in for one test."""
    monkeypatch.setattr(registry, "_ALGORITHMS", dict(registry._ALGORITHMS))
    monkeypatch.setattr(base, "_MODEL_CLASSES", dict(base._MODEL_CLASSES))
    registry.register(Bands())
    register_model(BandsModel)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A job with the plug-in."""
    source = write_files(tmp_path / "in", cut(customers(600), 200))
    content = job(source, tmp_path / "out")
    content["segment"] = {"algorithm": "bands", "n_bands": BANDS}
    path = tmp_path / "job.toml"
    path.write_text(toml(content))
    return path


def test_a_job_of_the_plugin(bands: None, file: Path, tmp_path: Path) -> None:
    result = gpuseg.run(file, overrides=["output.confidence=true"])
    written = read_parts(tmp_path / "out")
    segment = written["segment"].to_numpy()
    recency = pa.concat_tables([customers(600)])["recency"].to_numpy()
    edges = np.sort(recency)[[0, 150, 300, 450, 599]]
    for band in range(BANDS):
        assert edges[band] - 5 < recency[segment == band].mean() < edges[band + 1] + 5
    assert written.column_names == ["customer", "segment", "distance", "confidence"]
    assert result.manifest["result"]["algorithm"] == "bands"
    assert result.manifest["job"]["segment"] == {"algorithm": "bands", "n_bands": BANDS}
    assert result.manifest["warnings"] == ["bands use one feature only"]
    assert [s["size"] for s in result.manifest["segments"]] == np.bincount(segment).tolist()
    assert list(result.models) == [BANDS]
    x = np.column_stack([customers(600)[name] for name in ("recency", "orders", "spend")])
    for model in (result.model, gpuseg.load_model(tmp_path / "out")):
        assert isinstance(model, BandsModel)
        assert np.array_equal(model.predict(x), segment)


def test_a_refresh_of_the_plugin_only_scores(bands: None, file: Path, tmp_path: Path) -> None:
    gpuseg.run(file)
    again = f"output.path={tmp_path / 'again'}"
    with raises("refresh.no_place_for_numbers", ConfigError, parameter="refresh_mode"):
        refresh(file, tmp_path / "out", mode="fresh", overrides=[again])
    refresh(file, tmp_path / "out", mode="score", overrides=[again])
    assert read_parts(tmp_path / "again")["segment"] == read_parts(tmp_path / "out")["segment"]


def test_drift_from_the_plugin_names_the_field_that_is_missing(
    bands: None, file: Path, tmp_path: Path
) -> None:
    gpuseg.run(file)
    with raises("drift.no_reference", DataError, parameter="model") as error:
        gpuseg.drift(tmp_path / "out", tmp_path / "in")
    assert "`reference`" in str(error.value.hint)


def test_the_report_of_the_plugin(
    bands: None, file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = call(capfd, "run", file)
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("600 customers in 4 segments")
    assert "warning: bands use one feature only" in outcome.err
    page = (tmp_path / "out" / "_report.html").read_text()
    assert "bands" in page.lower()


def test_the_plugin_is_part_of_the_schema(bands: None, file: Path) -> None:
    with raises("job.unknown_key", ConfigError, parameter="segment.n_band") as error:
        gpuseg.run(file, overrides=["segment.n_band=3"])
    assert error.value.hint == "did you mean 'n_bands'?"
    with raises("n_bands.too_few", ConfigError, parameter="n_bands") as error:
        gpuseg.run(file, overrides=["segment.n_bands=1"])
    assert str(error.value).startswith("segment.n_bands = 1: ")
    with raises("algorithm.unknown", ConfigError) as error:
        gpuseg.run(file, overrides=["segment.algorithm=optics"])
    assert "'bands'" in error.value.rule


def test_without_the_plugin_its_name_is_unknown(file: Path) -> None:
    with raises("algorithm.unknown", ConfigError, value="bands"):
        gpuseg.run(file)


def test_a_name_is_taken_once(bands: None) -> None:
    class OtherBands(Bands):
        pass

    registry.register(again := Bands())
    assert registry.algorithm_of(BandsSpec()) is again
    with raises("algorithm.name_taken", ConfigError, value="bands"):
        registry.register(OtherBands())
    assert registry.algorithm_of(BandsSpec()) is again


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a package beside gpuseg, `other_package`; a test writes its module."""
    info = tmp_path / "other_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gpuseg.algorithms]\nother = other_package:OTHER\n")
    monkeypatch.setattr(registry, "_ALGORITHMS", dict(registry._ALGORITHMS))
    monkeypatch.setattr(base, "_MODEL_CLASSES", dict(base._MODEL_CLASSES))
    monkeypatch.setattr(plugins, "_LOADED", {})
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("other_package", None)


def test_an_entry_point_registers_an_algorithm(installed: Path) -> None:
    """As a package does that is installed beside gpuseg."""
    (installed / "other_package.py").write_text(
        "from typing import Literal\n"
        "from gpuseg.models.base import register_model\n"
        "from gpuseg.models.kmeans import KMeansModel\n"
        "from gpuseg.segmentation.kmeans import KMeansSegmentation, KMeansSpec\n"
        "class OtherSpec(KMeansSpec):\n    algorithm: Literal['other'] = 'other'\n"
        "class Other(KMeansSegmentation):\n    name, spec = 'other', OtherSpec\n"
        "OTHER = Other()\n"
        "@register_model\nclass OtherModel(KMeansModel):\n    name = 'other'\n"
    )
    with ThreadPoolExecutor(4) as threads:
        for algorithms in threads.map(lambda _: registry.registered(), range(8)):
            assert [algorithm.name for algorithm in algorithms].count("other") == 1
    assert base.model_class("other").__name__ == "OtherModel"


def test_a_saved_model_finds_its_package(installed: Path) -> None:
    (installed / "other_package.py").write_text(
        "from gpuseg.models.base import register_model\n"
        "from gpuseg.models.kmeans import KMeansModel\n"
        "@register_model\nclass OtherModel(KMeansModel):\n    name = 'other'\n"
        "OTHER = None\n"
    )
    assert base.model_class("other").__module__ == "other_package"


@pytest.mark.parametrize("module", ["import no_such_module\n", "OTHER = 3\n", ""])
def test_a_package_that_fails_is_an_error_only_if_requested(
    installed: Path, bands: None, file: Path, module: str
) -> None:
    (installed / "other_package.py").write_text(module)
    gpuseg.run(file)
    with raises("algorithm.not_loaded", ResourceError, value="other") as error:
        gpuseg.run(file, overrides=["segment.algorithm=other"])
    assert str(error.value).startswith("segment.algorithm = 'other': ")
    assert "other-package" in str(error.value)
    with raises("algorithm.unknown", ConfigError):
        gpuseg.run(file, overrides=["segment.algorithm=optics"])
    if "no_such" in module:
        with raises("algorithm.not_loaded", ResourceError):
            base.model_class("other")


def changed(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """Let the plug-in return a result with other fields."""
    fit = Bands.fit

    def fit_otherwise(algorithm: Bands, spec: BandsSpec, context: FitContext) -> SegmentationResult:
        result = fit(algorithm, spec, context)
        facts = {**result.facts, **fields.get("facts", {})}
        return replace(result, **{**fields, "facts": facts})

    monkeypatch.setattr(Bands, "fit", fit_otherwise)


def test_a_plugin_has_no_confidence_unless_it_says_so(
    bands: None, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not SegmentationAlgorithm.has_confidence
    changed(monkeypatch, runner_up=None)
    with raises("confidence.no_runner_up", ConfigError, parameter="confidence") as error:
        gpuseg.run(file, overrides=["output.confidence=true"])
    assert str(error.value).startswith("output.confidence: ")
    monkeypatch.setattr(Bands, "has_confidence", False)
    with raises("confidence.not_available", ConfigError, parameter="confidence"):
        gpuseg.run(file, overrides=["output.confidence=true"])


def test_facts_of_numpy_become_values_of_json(
    bands: None, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {
        "n_iter": np.int64(3), "edges": np.array([1.5, np.nan]), "pair": (np.float32(0.5), True),
        "by_band": {np.int32(2): float("inf")},
    }  # fmt: skip
    changed(monkeypatch, facts=facts)
    result = gpuseg.run(file).manifest["result"]
    assert result["n_iter"] == 3
    assert result["edges"] == [1.5, None]
    assert result["pair"] == [0.5, True]
    assert result["by_band"] == {"2": None}
    written = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert written["result"] == result


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("facts.not_json", {"facts": {"bands": {1, 2}}}),
        ("facts.not_json", {"facts": {"bands": {(1, 2): 3}}}),
        ("facts.not_json", {"sweep": [{"n_clusters": object()}]}),
        ("facts.invalid", {"facts": {"n_clusters": "four"}}),
        ("facts.invalid", {"sweep": [{"n_clusters": 4}]}),
    ],
)
def test_facts_that_the_manifest_cannot_have_are_refused(
    bands: None, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str,
    fields: dict[str, Any],
) -> None:  # fmt: skip
    changed(monkeypatch, **fields)
    with raises(code, GpusegError) as error:
        gpuseg.run(file)
    assert Bands.title in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_segment_without_rows_has_no_center(
    bands: None, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    centers = np.zeros((BANDS + 1, 3))
    centers[-1] = np.nan
    sizes = np.array([150] * BANDS + [0])
    changed(monkeypatch, segments=range(BANDS + 1), sizes=sizes, centers=centers)
    result = gpuseg.run(file)
    empty = result.manifest["segments"][-1]
    assert set(empty["center"].values()) == set(empty["deviation"].values()) == {None}
    assert json.loads((tmp_path / "out" / "_manifest.json").read_text()) == result.manifest
    assert (tmp_path / "out" / "_report.html").exists()


def test_manifest_is_json(bands: None, file: Path, tmp_path: Path) -> None:
    manifest = gpuseg.run(file).manifest
    assert json.loads((tmp_path / "out" / "_manifest.json").read_text()) == manifest
