"""A run that stops before its centers rest says so; one that clusters by the id is refused."""

from pathlib import Path

import pytest
from support.errors import raises

from gpuseg import ConfigError, run
from gpuseg.synthetic.customers import write_customers


@pytest.fixture(scope="module")
def customers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("convergence") / "customers"
    write_customers(folder, rows=3000, features=4)
    return folder


def job(customers: Path, out: Path, **segment: object) -> dict[str, object]:
    source = {"path": str(customers), "id": "customer_id"}
    return {"input": source, "segment": segment, "output": {"path": str(out)}}


def test_a_run_cut_short_warns(customers: Path, tmp_path: Path) -> None:
    short = run(job(customers, tmp_path / "a", max_iter=1, tol=0.0, init="random")).manifest
    assert short["result"]["converged"] is False
    assert [text.split(";")[0] for text in short["warnings"]] == ["not converged after 1 iteration"]
    whole = run(job(customers, tmp_path / "b")).manifest
    assert (whole["result"]["converged"], whole["warnings"]) == (True, [])


def test_the_id_is_no_feature(customers: Path, tmp_path: Path) -> None:
    wrong = job(customers, tmp_path / "out")
    wrong["input"] = {**wrong["input"], "features": ["customer_id", "orders"]}  # type: ignore[dict-item]
    with raises("features.has_id", ConfigError, parameter="features"):
        run(wrong)
