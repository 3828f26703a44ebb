"""Kill, end or stop one of the processes of a run at a drawn moment; look at what is left.

A run has several processes: the driver, the workers, the process that they are forked from, and the
resource tracker of `multiprocessing`; with a cluster of others also a scheduler and nannies.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow.dataset as ds

import gpuseg
from gpuseg.synthetic.customers import write_customers
from gpuseg.synthetic.transactions import write_transactions

CUSTOMERS, LINES = 12_000, 20_000

OLD, NEW = 3, 5
"""Number of segments of the older and of the newer output, to distinguish them."""

SECONDS_TO_END = 10.0
"""How long a run may take to end once it is told to: twice what gpuseg promises, since the machine
may be busy."""

SECONDS_TO_RECOVER = 150.0
"""How long a run may go on after a process was lost or stopped."""

SECONDS_OF_CHILDREN = 10.0
"""How long other processes of a run may outlive its driver."""

_EXIT_CODES = {0, 4, 75, 130}

_OUTPUT = re.compile(
    r"(note|warning|error): |interrupted$|paused; the same command goes on from here$"
    r"|[a-z][a-z ]{9} +\d+\.\d s( |$)|\d+ (note|warning)s?"
)
"""What a run may write to standard error."""

_KINDS = {
    "kmeans": "n_clusters = {k}\nmax_iter = 30\ntol = 0.0\n",
    "dbscan": "algorithm = 'dbscan'\neps = 0.6\nmin_samples = {k}\n",
    "hierarchical": "algorithm = 'hierarchical'\nn_clusters = {k}\n",
    "transactions": "n_clusters = {k}\n",
}

_STAGES = ("", "plan", "start", "read", "prepare", "fit", "examples", "write", "check ids")
"""The stage whose end is waited for; "" is the start of the process."""

_VICTIMS = {
    "dask": ("worker", "worker", "all workers", "fork server", "tracker", "driver", "driver"),
    "external": ("worker", "all workers", "nanny", "scheduler", "driver"),
    "local": ("driver",),
}

_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)


@dataclass
class KillFigures:
    """What happened, for the figures of a large run."""

    codes: dict[str, int] = field(default_factory=dict)
    longest: dict[str, float] = field(default_factory=dict)

    def add(self, code: int, kind: str, seconds: float) -> None:
        """Count an exit code, and keep the longest time from the signal to the end."""
        self.codes[str(code)] = self.codes.get(str(code), 0) + 1
        self.longest[kind] = max(self.longest.get(kind, 0.0), seconds)


class KillFuzzer:
    """Starts a run in a process of its own, sends a signal to one of its processes, and waits."""

    seconds = 600.0

    _shared: Path

    def __init__(self) -> None:
        self.figures = KillFigures()
        self.case = ""

    def prepare(self, folder: Path) -> None:
        """Write the data."""
        self._shared = folder
        write_customers(folder / "customers", rows=CUSTOMERS, features=6, files=4)
        write_transactions(folder / "lines", lines=LINES, customers=LINES // 10, files=4)

    def _older_output(self, kind: str) -> Path:
        """Return the older output of a kind of job, which is made once."""
        folder = self._shared / kind
        if not (folder / "o").exists():
            gpuseg.run(self._job(kind, "local", OLD, folder / "o", folder / "job.toml"))
        return folder / "o"

    def try_case(self, draw: random.Random, folder: Path) -> None:
        """Draw a job, a moment, a process and a signal."""
        kind = draw.choice(list(_KINDS))
        cluster = draw.choices(list(_VICTIMS), (6, 2, 2))[0]
        victim = draw.choice(_VICTIMS[cluster])
        number = draw.choice(_SIGNALS)
        stage, delay = draw.choice(_STAGES), draw.choice((0.0, 0.01, 0.05, 0.2, 0.5, 1.0))
        delay *= draw.random()
        self.case = f"{kind} on {cluster}: {number.name} to {victim} {delay:.3f} s after {stage!r}"
        print(self.case, end=" ", flush=True)
        out, scratch = folder / "out" / "o", folder / "t"
        out.parent.mkdir()
        scratch.mkdir()
        shutil.copytree(self._older_output(kind), out)
        with _cluster(cluster == "external", folder) as external:
            address = external.address if external else cluster
            job = self._job(kind, address, NEW, out, folder / "job.toml")
            run = _Run(job, folder / "errors", scratch)
            try:
                run.wait_for(stage, delay)
                victims = _find(run.driver, victim, external)
                seconds = run.end_after(victims, number, victim == "driver")
            finally:
                run.kill_all()
        print(f"→ {run.code} after {seconds:.1f} s", flush=True)
        self.figures.add(run.code, f"{number.name} to {victim}", seconds)
        self._check(run, victim, number, kind, out, scratch)

    def _check(
        self, run: "_Run", victim: str, number: signal.Signals, kind: str, out: Path, scratch: Path
    ) -> None:
        killed = victim == "driver" and number == signal.SIGKILL
        allowed = _EXIT_CODES | ({-signal.SIGKILL} if killed else set())
        if victim == "driver" and not run.errors.read_text():
            allowed |= {-signal.SIGTERM}  # Python itself was starting
        errors = run.errors.read_text()
        assert run.code in allowed, f"exit {run.code}: {errors}"
        strange = [line for line in errors.splitlines() if not _OUTPUT.match(line)]
        assert not strange, f"on standard error: {strange[:3]} … {errors}"
        assert not run.outlived, f"outlived the driver: {run.outlived}"
        k = _complete(out, kind)
        assert k in ((NEW,) if run.code == 0 else (OLD, NEW)), f"exit {run.code}, output of {k}"
        if killed or run.code in (4, 75):
            job = self._job(kind, "local", NEW, out, out.parent.parent / "job.toml")
            again = subprocess.run(
                _command(job), env=_environment(scratch), capture_output=True, text=True
            )
            assert again.returncode == 0, again.stderr
            assert _complete(out, kind) == NEW
        left = [str(path.relative_to(scratch)) for path in scratch.rglob("*")]
        assert not left, f"left in TMPDIR: {left}"
        beside = [path.name for path in out.parent.iterdir() if path != out]
        assert not beside, f"left beside the output: {beside}"

    def _job(self, kind: str, cluster: str, k: int, out: Path, file: Path) -> Path:
        if kind == "transactions":
            source = (
                f"[transactions]\npath = '{self._shared / 'lines'}'\ncustomer = 'customer_id'\n"
                "time = 'time'\norder = 'order_id'\nproduct = 'product'\nquantity = 'quantity'\n"
                "price = 'price'\n"
            )
        else:
            source = f"[input]\npath = '{self._shared / 'customers'}'\nid = 'customer_id'\n"
        workers = "" if "://" in cluster else "n_workers = 2\nthreads_per_worker = 1\n"
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(
            f"{source}[segment]\n{_KINDS[kind].format(k=k)}[runtime]\ncluster = '{cluster}'\n"
            f"{workers}"
            f"[output]\npath = '{out}'\noverwrite = true\n"
        )
        return file


def fuzzer() -> KillFuzzer:
    """Return the fuzzer of this module."""
    return KillFuzzer()


def _command(job: Path) -> list[str]:
    return [sys.executable, "-m", "gpuseg", "run", str(job)]


def _environment(scratch: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(scratch)}


class _Run:
    """A run in a process of its own, and all processes that it has started."""

    def __init__(self, job: Path, errors: Path, scratch: Path) -> None:
        self.errors = errors
        with errors.open("w") as file:
            self._process = subprocess.Popen(
                _command(job), stdout=subprocess.DEVNULL, stderr=file, env=_environment(scratch),
                start_new_session=True,
            )  # fmt: skip
        self.driver = psutil.Process(self._process.pid)
        self.code = 0
        self.outlived: list[str] = []
        self._seen: set[psutil.Process] = set()

    def wait_for(self, stage: str, delay: float) -> None:
        """Wait until a stage has ended, or the run has."""
        while self._process.poll() is None:
            if not stage or re.search(rf"^{stage} ", self.errors.read_text(), re.MULTILINE):
                break
            time.sleep(0.005)
        time.sleep(delay)

    def end_after(
        self, victims: list[psutil.Process], number: signal.Signals, is_driver: bool
    ) -> float:
        """Send the signal; return the seconds until the run has ended."""
        self._see()
        start = time.monotonic()
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.send_signal(number)
        if is_driver and number == signal.SIGSTOP:  # it was suspended, and is told to end
            time.sleep(1)
            start = time.monotonic()
            for second in (signal.SIGTERM, signal.SIGCONT):
                with suppress(psutil.NoSuchProcess):
                    self.driver.send_signal(second)
        elif number == signal.SIGSTOP and int(start * 1000) % 2:
            # The processes of half the runs stay, and these runs are told to end.
            time.sleep(0.3)
            is_driver = True
            start = time.monotonic()
            with suppress(psutil.NoSuchProcess):
                self.driver.send_signal(signal.SIGTERM)
        limit = SECONDS_TO_END if is_driver else SECONDS_TO_RECOVER
        while self._process.poll() is None:
            self._see()
            seconds = time.monotonic() - start
            assert seconds < limit, f"goes on after {seconds:.0f} s: {self.errors.read_text()}"
            time.sleep(0.1)
        seconds = time.monotonic() - start
        self.code = int(self._process.returncode)
        if seconds < 1 and self.code == 0:  # the run may have ended before the signal
            for victim in victims:
                with suppress(psutil.NoSuchProcess):
                    victim.send_signal(signal.SIGCONT)
        _, alive = psutil.wait_procs(list(self._seen), SECONDS_OF_CHILDREN)
        self.outlived = [str(one) for one in alive]
        return seconds

    def kill_all(self) -> None:
        """Kill what is still alive of this run."""
        self._see()
        for process in (*self._seen, self.driver):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()

    def _see(self) -> None:
        with suppress(psutil.NoSuchProcess):
            self._seen.update(self.driver.children(recursive=True))


@dataclass
class _External:
    """A cluster that was not started by gpuseg."""

    address: str
    scheduler: psutil.Process
    nannies: list[psutil.Process]


@contextmanager
def _cluster(is_wanted: bool, folder: Path) -> Iterator[_External | None]:
    """Start a scheduler and two workers, if they are wanted; kill them afterwards."""
    if not is_wanted:
        yield None
        return
    space = folder / "dask"
    space.mkdir()
    file, log = folder / "scheduler.json", (folder / "dask.log").open("w")
    commands = [["scheduler", "--port", "0", "--scheduler-file", str(file), "--no-dashboard"]]
    commands += 2 * [
        ["worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard",
         "--local-directory", str(space)],
    ]  # fmt: skip
    environment = {
        **_environment(space),
        "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "20s",
    }
    started = []
    try:
        for arguments in commands:
            command = [sys.executable, "-m", "distributed.cli.dask_" + arguments[0]]
            started.append(
                subprocess.Popen(
                    [*command, *arguments[1:]], stdout=log, stderr=log, env=environment
                )
            )
        wait_until(lambda: file.exists() and bool(file.read_text().strip()), 60)
        address = json.loads(file.read_text())["address"]
        log_file = folder / "dask.log"
        wait_until(lambda: log_file.read_text().count("Starting established connection") >= 2, 60)
        scheduler, *nannies = (psutil.Process(process.pid) for process in started)
        yield _External(address, scheduler, nannies)
    finally:
        for process in started:
            one = psutil.Process(process.pid)
            with suppress(psutil.NoSuchProcess):
                for child in one.children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        child.kill()
            process.kill()
            process.wait()
        log.close()


def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "the cluster of the case does not start"
        time.sleep(0.05)


def _find(driver: psutil.Process, victim: str, external: _External | None) -> list[psutil.Process]:
    """Return the processes that are meant, as far as there are any now."""
    if victim == "driver":
        return [driver]
    if external is not None:
        if victim == "scheduler":
            return [external.scheduler]
        if victim == "nanny":
            return external.nannies[:1]
        workers = [
            child
            for nanny in external.nannies
            for child in nanny.children()
            if "spawn_main" in _words(child)
        ]
        return workers if victim == "all workers" else workers[:1]
    with suppress(psutil.NoSuchProcess):
        children = driver.children(recursive=True)
        servers = [child for child in children if "forkserver" in _words(child)]
        roots = [server for server in servers if server.ppid() == driver.pid]
        if victim == "fork server":
            return roots
        if victim == "tracker":
            return [child for child in children if "resource_tracker" in _words(child)]
        pids = {root.pid for root in roots}
        workers = [child for child in children if child.ppid() in pids]
        workers += [child for child in children if "spawn_main" in _words(child)]
        return workers if victim == "all workers" else workers[:1]
    return []


def _words(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def _complete(out: Path, kind: str) -> int:
    """Check that the output is complete; return what distinguishes the older from the newer."""
    manifest: dict[str, Any] = json.loads((out / "_manifest.json").read_text())
    assert (out / "_SUCCESS").exists()
    assert {part["name"] for part in manifest["parts"]} == {p.name for p in out.glob("part-*")}
    rows = ds.dataset(sorted(map(str, out.glob("part-*")))).count_rows()
    assert rows == manifest["input"]["rows"], f"{rows} rows"
    key = "min_samples" if kind == "dbscan" else "n_clusters"
    return int(manifest["job"]["segment"][key])
