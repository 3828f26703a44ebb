"""A few drawn cases of each fuzzer; `scripts/fuzz` tries many."""

import pytest
from fuzzing.run_cases import TARGETS, load_fuzzer, run_cases

CASES: dict[str, int] = {
    "audiences": 15,
    "data-files": 30,
    "differing-files": 30,
    "job-files": 150,
    "json-lines": 20,
    "models": 50,
    "manifests": 30,
    "names": 10,
    "scored-tables": 15,
    "serving": 60,
    "text-files": 30,
    "kills": 1,
}
"""Cases of a test run, for each fuzzer of which it tries some: a few seconds' worth."""


@pytest.mark.slow
@pytest.mark.parametrize("target", sorted(CASES))
def test_no_case_ends_with_a_foreign_exception(target: str) -> None:
    findings = list(run_cases(load_fuzzer(target), seed=1, numbers=range(CASES[target])))
    assert not findings, "\n".join(finding.trace for finding in findings)


def test_each_fuzzer_loads() -> None:
    for target in TARGETS:
        assert load_fuzzer(target).seconds > 0
