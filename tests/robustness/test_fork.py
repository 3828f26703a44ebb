"""Children that are forked after a fit, or during one, fit and predict what their parent does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.helpers import THOROUGH

pytestmark = pytest.mark.slow

LIMIT = 240
"""Seconds for a test, where kernels are compiled; without that it takes about five."""

PROGRAM = """
import multiprocessing, os, sys, threading, time, warnings
import numpy as np
import gpuseg

warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
rng = np.random.default_rng(0)
X = (rng.normal(size=(70_000, 3)) + 9 * rng.integers(0, 3, (70_000, 1))).astype(np.float32)

def labels(_=None):
    model = gpuseg.KMeans(3, n_init=1, max_iter=5, random_state=0, n_threads=2).fit(X)
    clusters = gpuseg.DBSCAN(eps=1.0, min_samples=5, n_threads=2).fit_predict(X[:2000])
    return [values.tobytes() for values in (model.labels_, model.predict(X), clusters)]

def fork(expected):
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if labels() == expected else 3)
        finally:
            os._exit(1)
    return pid

def wait(pids):
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * len(pids)
"""

CASES = {
    "os.fork": """
    expected = labels()
    wait([fork(expected) for _ in range(3)])
    """,
    "multiprocessing": """
    expected = labels()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(labels, range(4), chunksize=1) == [expected] * 4
    """,
    "joblib": """
    from joblib import Parallel, delayed
    expected = labels()
    found = Parallel(2, backend="multiprocessing")(delayed(labels)() for _ in range(3))
    assert found == [expected] * 3
    """,
    "during another thread's first fit": """
    found, pids = [], []
    first = threading.Thread(target=lambda: found.append(labels()))
    first.start()
    while first.is_alive() and len(pids) < 3:
        time.sleep(0.2)
        pids.append(os.fork())
        if pids[-1] == 0:
            os._exit(0 if len(labels()) == 3 else 3)
    wait(pids)
    first.join()
    """,
    "during another thread's later fits": """
    expected = labels()
    done = threading.Event()
    def fit_again():
        while not done.is_set():
            labels()
    other = threading.Thread(target=fit_again)
    other.start()
    for _ in range(3):
        wait([fork(expected)])
    done.set()
    other.join()
    """,
    "processes that joblib spawns": """
    from joblib import Parallel, delayed
    expected = labels()
    assert Parallel(2, backend="loky")(delayed(labels)() for _ in range(3)) == [expected] * 3
    """,
}

OF_ALL_WAYS = ("joblib", "during another thread's later fits")
"""A pool of forked processes, and forks by hand, which also are such beside another thread."""


@pytest.mark.skipif(sys.platform != "linux", reason="system libraries may not survive a fork")
@pytest.mark.parametrize("case", CASES if THOROUGH else OF_ALL_WAYS)
def test_forked_children_fit_as_their_parent(tmp_path: Path, case: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(f"{PROGRAM}\nif __name__ == '__main__':{CASES[case]}")
    done = subprocess.run(
        [sys.executable, program],
        capture_output=True, text=True, timeout=LIMIT, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
