"""Runs steps one after the other, each in a process of its own, and stops in time."""

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
from gpu_check.steps import Step

ROOT = Path(__file__).parents[2]
LOG = "log.txt"

GRACE_SECONDS = 3.0
"""Kept back of all the time, to end a process that does not end by itself."""

MIN_SECONDS = 3.0
"""With less left no step is begun."""

_TAIL_LINES, _TAIL_WIDTH = 12, 300


class State(StrEnum):
    """How a step ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"
    TIMED_OUT = "timed out"
    NO_TIME = "no time left"


@dataclass(frozen=True)
class Outcome:
    """How a step ended, after how long, and what it came to in one line."""

    step: str
    state: State
    seconds: float
    result: str


@dataclass
class Run:
    """Some steps, one after the other.

    Attributes
    ----------
    steps : sequence of Step
    seconds : float
        For all of them together.
    folder : Path
        Where facts and the log go.
    emulator : bool
        Whether steps run on the emulator of a GPU; those that cannot are skipped.
    lacking : str
        Why no step can run on a GPU here; empty where they can.
    outcomes : list of Outcome
        Grows while steps run.
    """

    steps: Sequence[Step]
    seconds: float
    folder: Path
    emulator: bool = False
    lacking: str = ""
    outcomes: list[Outcome] = field(default_factory=list)
    started: float = field(default_factory=time.time)

    @property
    def facts(self) -> Path:
        """The file of facts; those of earlier runs are at its beginning."""
        return self.folder / facts.FILE

    @property
    def facts_size(self) -> int:
        """Bytes of the file of facts."""
        return self.facts.stat().st_size if self.facts.exists() else 0

    @property
    def left(self) -> float:
        """Seconds that a step may still take."""
        return self.seconds - (time.time() - self.started) - GRACE_SECONDS

    @property
    def code(self) -> int:
        """The exit code: 0 all went well, 1 not all, 4 there is no GPU and nothing ran."""
        states = {outcome.state for outcome in self.outcomes}
        if states <= {State.OK, State.SKIPPED}:
            return 0
        return facts.NO_GPU if self.lacking and State.OK not in states else 1

    def go(self) -> None:
        """Run all steps; what is known so far is in the folder at any time."""
        self._say("", "run", date=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
                  commit=os.environ.get("GPUSEG_COMMIT"), seconds=self.seconds,
                  emulator=self.emulator, steps=[step.name for step in self.steps])  # fmt: skip
        for step in self.steps:
            outcome = self._outcome(step)
            self.outcomes.append(outcome)
            self._say(step.name, "step", state=outcome.state, seconds=outcome.seconds,
                      result=outcome.result)  # fmt: skip
            print(f"   {outcome.state}, {outcome.seconds:.1f} s: {outcome.result}", flush=True)

    def _say(self, step: str, what: str, **told: Any) -> None:
        facts.append(self.folder, facts.line(step, self.started, what, told))

    def _outcome(self, step: Step) -> Outcome:
        at = time.time() - self.started
        print(f"== {step.name}, at {at:.0f} s: {step.tells}", flush=True)
        if self.emulator and not step.emulated:
            return Outcome(step.name, State.SKIPPED, 0.0, "the emulator cannot tell")
        if self.lacking and not self.emulator:
            return Outcome(step.name, State.FAILED, 0.0, self.lacking)
        if self.left < MIN_SECONDS:
            return Outcome(step.name, State.NO_TIME, 0.0, f"of {self.seconds:g} s")
        limit = self.left if self.emulator else min(step.limit, self.left)  # limits are of a GPU
        return self._run(step, limit)

    def _run(self, step: Step, limit: float) -> Outcome:
        log, told = self.folder / LOG, self.facts_size
        with log.open("a") as file:
            file.write(f"== {step.name}\n")
        before = log.stat().st_size
        began = time.monotonic()
        code = self._process(step, limit, log)
        took = round(time.monotonic() - began, 1)
        output = _lines(log, before)
        results = [
            fact["result"] for fact in facts.read(self.facts, told) if fact["what"] == "result"
        ]
        result = (results or output or [f"ended with {code} and without a word"])[-1]
        if code is None:
            cut = "" if limit == step.limit else ", all that was left"
            return Outcome(step.name, State.TIMED_OUT, took, f"ended after {limit:.0f} s{cut}")
        if code == facts.SKIPPED:
            return Outcome(step.name, State.SKIPPED, took, result)
        if code:
            shown = [line[:_TAIL_WIDTH] for line in output[-_TAIL_LINES:]]
            print("\n".join(f"   | {line}" for line in shown), flush=True)
        return Outcome(step.name, State.FAILED if code else State.OK, took, result)

    def _process(self, step: Step, limit: float, log: Path) -> int | None:
        """Run a step; return its exit code, None if it had to be ended."""
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
            finally:  # also when this process is to end
                _end(process)

    def _environment(self, step: str) -> Mapping[str, str]:
        added = {
            facts.FOLDER: str(self.folder.resolve()),
            facts.STEP: step,
            facts.STARTED: str(self.started),
            "PYTHONUNBUFFERED": "1",
        }
        return {**os.environ, **added}


def table(outcomes: Sequence[Outcome]) -> str:
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
    """End a process and all that it started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
