"""A few drawn cases of each fuzzer; `scripts/fuzz` tries many."""

import pytest
from fuzzing.run_cases import TARGETS, load_fuzzer, run_cases
from support.helpers import THOROUGH

CASES: dict[str, int] = {
    "audiences": 5,
    "data-files": 10,
    "differing-files": 10,
    "job-files": 40,
    "json-lines": 7,
    "models": 15,
    "manifests": 10,
    "names": 4,
    "scored-tables": 5,
    "serving": 10,
    "text-files": 10,
}
"""Cases of a test run, for each fuzzer of which it tries some: about a second's worth."""

if THOROUGH:
    CASES = {target: 3 * count for target, count in CASES.items()} | {"kills": 1}


@pytest.mark.slow
@pytest.mark.parametrize("target", sorted(CASES))
def test_no_case_ends_with_a_foreign_exception(target: str) -> None:
    findings = list(run_cases(load_fuzzer(target), seed=1, numbers=range(CASES[target])))
    assert not findings, "\n".join(finding.trace for finding in findings)


def test_each_fuzzer_loads() -> None:
    for target in TARGETS:
        assert load_fuzzer(target).seconds > 0
