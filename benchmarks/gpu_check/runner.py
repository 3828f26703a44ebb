"""Run steps one after the other, each in a separate process, within a time limit."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from gpu_check import facts
from gpu_check.steps import CheckStep

ROOT = Path(__file__).parents[2]
LOG = "log.txt"

GRACE_SECONDS = 3.0
"""Time reserved for ending a process that does not end itself."""

MIN_SECONDS = 3.0
"""Minimum time left for starting a step."""

_TAIL_LINES, _TAIL_WIDTH = 12, 300


class State(StrEnum):
    """How a step ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"
    TIMED_OUT = "timed out"
    NO_TIME = "no time left"


@dataclass(frozen=True)
class StepResult:
    """How a step ended, its seconds, and its result in one line."""

    step: str
    state: State
    seconds: float
    result: str


@dataclass
class Run:
    """A sequence of steps.

    Attributes
    ----------
    steps : sequence of CheckStep
    seconds : float
        Time limit of all steps together.
    folder : Path
        Folder of the facts and the log.
    emulator : bool
        Whether steps run on the emulator of a GPU; those that cannot are skipped.
    no_gpu_reason : str
        Why no step can run on a GPU here; empty if they can.
    outcomes : list of StepResult
        Grows while steps run.
    """

    steps: Sequence[CheckStep]
    seconds: float
    folder: Path
    emulator: bool = False
    no_gpu_reason: str = ""
    outcomes: list[StepResult] = field(default_factory=list)
    started: float = field(default_factory=time.time)

    @property
    def facts(self) -> Path:
        """The file of facts; it begins with those of earlier runs."""
        return self.folder / facts.FILE

    @property
    def facts_size(self) -> int:
        """Bytes of the file of facts."""
        return self.facts.stat().st_size if self.facts.exists() else 0

    @property
    def seconds_left(self) -> float:
        """Seconds left for a step."""
        return self.seconds - (time.time() - self.started) - GRACE_SECONDS

    @property
    def code(self) -> int:
        """The exit code: 0 all steps passed, 1 a step failed, 4 there is no GPU and no step ran."""
        states = {outcome.state for outcome in self.outcomes}
        if states <= {State.OK, State.SKIPPED}:
            return 0
        return facts.NO_GPU if self.no_gpu_reason and State.OK not in states else 1

    def run(self) -> None:
        """Run all steps; the folder always has the results so far."""
        self._record("", "run", date=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
                  commit=os.environ.get("GPUSEG_COMMIT"), seconds=self.seconds,
                  emulator=self.emulator, steps=[step.name for step in self.steps])  # fmt: skip
        for step in self.steps:
            outcome = self._outcome(step)
            self.outcomes.append(outcome)
            self._record(step.name, "step", state=outcome.state, seconds=outcome.seconds,
                      result=outcome.result)  # fmt: skip
            print(f"   {outcome.state}, {outcome.seconds:.1f} s: {outcome.result}", flush=True)

    def _record(self, step: str, what: str, **values: Any) -> None:
        facts.append(self.folder, facts.line(step, self.started, what, values))

    def _outcome(self, step: CheckStep) -> StepResult:
        elapsed = time.time() - self.started
        print(f"== {step.name}, at {elapsed:.0f} s: {step.question}", flush=True)
        if self.emulator and not step.emulated:
            return StepResult(step.name, State.SKIPPED, 0.0, "needs a GPU")
        if self.no_gpu_reason and not self.emulator:
            return StepResult(step.name, State.FAILED, 0.0, self.no_gpu_reason)
        if self.seconds_left < MIN_SECONDS:
            return StepResult(step.name, State.NO_TIME, 0.0, f"of {self.seconds:g} s")
        limit = (
            self.seconds_left if self.emulator else min(step.limit, self.seconds_left)
        )  # limits are for a GPU
        return self._run_step(step, limit)

    def _run_step(self, step: CheckStep, limit: float) -> StepResult:
        log, start = self.folder / LOG, self.facts_size
        with log.open("a") as file:
            file.write(f"== {step.name}\n")
        before = log.stat().st_size
        began = time.monotonic()
        code = self._process(step, limit, log)
        took = round(time.monotonic() - began, 1)
        output = _lines(log, before)
        results = [
            fact["result"] for fact in facts.read(self.facts, start) if fact["what"] == "result"
        ]
        result = (results or output or [f"ended with {code} and no output"])[-1]
        if code is None:
            note = "" if limit == step.limit else ", the time left"
            return StepResult(step.name, State.TIMED_OUT, took, f"ended after {limit:.0f} s{note}")
        if code == facts.SKIPPED:
            return StepResult(step.name, State.SKIPPED, took, result)
        if code:
            shown = [line[:_TAIL_WIDTH] for line in output[-_TAIL_LINES:]]
            print("\n".join(f"   | {line}" for line in shown), flush=True)
        return StepResult(step.name, State.FAILED if code else State.OK, took, result)

    def _process(self, step: CheckStep, limit: float, log: Path) -> int | None:
        """Run a step; return its exit code, or None if it was ended."""
        command = [*step.command, *(["--emulator"] if self.emulator else [])]
        with log.open("ab") as file:
            process = subprocess.Popen(
                command, cwd=ROOT, env=self._environment(step.name), stdin=subprocess.DEVNULL,
                stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            try:
                return process.wait(limit)
            except subprocess.TimeoutExpired:
                return None
            finally:  # also if this process is terminated
                _end(process)

    def _environment(self, step: str) -> Mapping[str, str]:
        added = {
            facts.FOLDER: str(self.folder.resolve()),
            facts.STEP: step,
            facts.STARTED: str(self.started),
            "PYTHONUNBUFFERED": "1",
        }
        return {**os.environ, **added}


def table(outcomes: Sequence[StepResult]) -> str:
    """Return the outcomes as a table."""
    rows = [("step", "state", "seconds", "result")]
    rows += [(end.step, end.state.value, f"{end.seconds:.1f}", end.result) for end in outcomes]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join(
        f"{step:<{widths[0]}}  {state:<{widths[1]}}  {seconds:>{widths[2]}}  {result[:160]}"
        for step, state, seconds, result in rows
    )


def _lines(log: Path, start: int) -> list[str]:
    with log.open("rb") as file:
        file.seek(start)
        text = file.read().decode(errors="replace")
    return [line for line in text.splitlines() if line.strip()]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
