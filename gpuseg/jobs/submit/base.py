"""What is submitted, and what a scheduler of a cluster must offer for that."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from gpuseg.jobs.job import JobSpec
from gpuseg.jobs.schema import SubmitSpec

State = Literal["queued", "running", "succeeded", "failed", "cancelled", "unknown"]

ENDED: tuple[State, ...] = ("succeeded", "failed", "cancelled")
"""The states that a job does not leave."""


_GIVEN_UP = 130
"""Exit code of a run that was told to end for good."""


def ended_with(exit_code: int) -> State:
    """Return the state of a job whose run has ended with an exit code."""
    if exit_code == _GIVEN_UP:
        return "cancelled"
    return "failed" if exit_code else "succeeded"


@dataclass(frozen=True)
class JobState:
    """What a scheduler says of a job.

    Attributes
    ----------
    state : State
        "unknown" if the scheduler has forgotten the job.
    exit_code : int or None
        Of a job that has ended; None if the scheduler does not know it.
    reason : str
        What the scheduler says of it, such as "PENDING (Resources)".
    """

    state: State
    exit_code: int | None = None
    reason: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether the job will do nothing more."""
        return self.state in ENDED


@dataclass(frozen=True)
class Resources:
    """What a job asks for: what [submit] says, and otherwise what its forecast proposes.

    Attributes
    ----------
    nodes, tasks : int
        Machines, and processes on all of them.
    cpus_per_task : int
    memory : int
        Bytes of each task.
    seconds : int
        Time limit.
    gpus_per_task : int
    """

    nodes: int
    tasks: int
    cpus_per_task: int
    memory: int
    seconds: int
    gpus_per_task: int = 0

    @property
    def tasks_per_node(self) -> int:
        """Tasks of the machine that has most of them."""
        return -(-self.tasks // self.nodes)


@dataclass(frozen=True)
class Member:
    """One run of a submission: a job has one member, and an array several.

    Attributes
    ----------
    values : mapping
        The job as the tasks run it: without [submit], with the cluster of the ranks.
    spec : JobSpec
        The same, validated.
    label : str
        What tells it from the others of an array, such as "n_clusters=4"; empty without an array.
    output : str
        Path or URL of its output.
    folder : Path
        Where its job file, its script and what it prints are: the run folder of a local output.
    """

    values: Mapping[str, Any]
    spec: JobSpec
    label: str
    output: str
    folder: Path

    @property
    def job_file(self) -> Path:
        """The job file that the tasks read."""
        return self.folder / "job.toml"

    @property
    def log(self) -> Path:
        """Where standard output and error of the job go."""
        return self.folder / "output.txt"


@dataclass(frozen=True)
class Submission:
    """A job, or an array of jobs, that has been checked.

    Attributes
    ----------
    name : str
        A name for lists of jobs: letters, digits and hyphens.
    output : str
        Path or URL of the output; of an array, what the job file has.
    members : tuple of Member
    submit : SubmitSpec
    resources : Resources
    folder : Path
        The folder of the only member; of an array, the folder that has its script, and the folder
        of each member below its number.
    working_folder : Path
        Where relative paths of the job begin.
    """

    name: str
    output: str
    members: tuple[Member, ...]
    submit: SubmitSpec
    resources: Resources
    folder: Path
    working_folder: Path

    @property
    def is_array(self) -> bool:
        """Whether it has several runs."""
        return bool(self.members[0].label)


class JobLauncher(Protocol):
    """A scheduler that starts the tasks of jobs.

    Attributes
    ----------
    name : str
        As in `submit.kind`.
    script_name : str
        File name of what `render` returns, in the folder of the submission.
    keys : frozenset of str
        The keys of [submit] that it uses; a job with others is refused.
    runs_elsewhere : bool
        Whether the tasks may have other files than this machine, as in a container; a job whose
        input is not here can then be submitted, if `submit.memory` is given.
    """

    name: str
    script_name: str
    keys: frozenset[str]
    runs_elsewhere: bool

    def check(self, submission: Submission) -> None:
        """Refuse what the scheduler would refuse or never start; nothing is queued.

        Raises
        ------
        ConfigError, ResourceError
        """
        ...

    def render(self, submission: Submission) -> str:
        """Return the script or the manifest: what --dry-run prints. It has no secrets."""
        ...

    def submit(self, submission: Submission, script: Path) -> str:
        """Queue a script that `render` wrote, and return the id of the job.

        Raises
        ------
        ConfigError, ResourceError
        """
        ...

    def state(self, job_id: str) -> JobState:
        """Return the state of a job.

        Raises
        ------
        ResourceError
            If the scheduler does not answer.
        """
        ...

    def cancel(self, job_id: str) -> None:
        """End a job, or all jobs of an array; one that has ended stays as it is.

        Raises
        ------
        ResourceError
        """
        ...
