"""The script of sbatch."""

import shlex
from pathlib import Path

from gpuseg.errors import ConfigError
from gpuseg.jobs.submit.base import Submission
from gpuseg.jobs.submit.task_command import preparation, python_of, task_command

PAUSED = 75
"""Exit code of a run that goes on when it is started again."""

_NOTICE_SECONDS = 120
"""How long before its time limit a job is told to pause. Slurm looks once a minute."""

_ENDING_SECONDS = 600
"""How long the script waits for Slurm to take the job off the nodes, once it is queued again."""


def slurm_script(submission: Submission) -> str:
    """Return the script of a job or an array. It has no secrets.

    Without ``B:``, the signal goes to the tasks and not to this script. A job that has paused is
    queued again by the script, unless Slurm itself ends it: then it has sent SIGTERM, and queues
    the job itself if that is due.

    Its variables begin with ``job_``, to keep apart from those of the user's environment.

    Raises
    ------
    ConfigError
        For a path that no line of a script can have.
    """
    submit, resources = submission.submit, submission.resources
    job_file, python = '"$job_folder"/job.toml', python_of(submit)
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {directive}" for directive in _directives(submission)),
        "# Written by gpuseg submit. Slurm passes on the environment of the shell that submits.",
        f"job_folder={_folder(submission)}",
        *preparation(submit.environment, submit.setup),
        "job_ended_by_slurm= job_started=$(date +%s)",
        "trap 'job_ended_by_slurm=yes' TERM",
        f"srun --ntasks={resources.tasks} --cpus-per-task={resources.cpus_per_task} "
        f"--kill-on-bad-exit=0 {task_command(submit, job_file)}",
        "job_code=$?",
        'if [ "$job_code" -gt 128 ] && [ "$job_code" != 130 ]; then  # a task was killed',
        f'  {python} -m gpuseg.jobs.submit.exit_code {job_file} "$job_started"; job_code=$?',
        "fi",
        f'if [ "$job_code" = {PAUSED} ] && [ -z "$job_ended_by_slurm" ] '
        f'&& [ "${{SLURM_RESTART_COUNT:-0}}" -lt {submit.restarts} ]; then',
        f'  scontrol requeue "$SLURM_JOB_ID" && sleep {_ENDING_SECONDS}',
        "fi",
        'exit "$job_code"',
    ]
    return "\n".join(lines) + "\n"


def _folder(submission: Submission) -> str:
    folder = shlex.quote(_plain(submission.folder))
    return f"{folder}/$SLURM_ARRAY_TASK_ID" if submission.is_array else folder


def _directives(submission: Submission) -> list[str]:
    """Return what follows ``#SBATCH``, without those that the job skips."""
    submit, resources = submission.submit, submission.resources
    per_node = resources.tasks_per_node
    mebibytes = -(-resources.memory * per_node // 2**20)
    minutes = -(-resources.seconds // 60)
    last = len(submission.members) - 1
    at_once = f"%{submit.at_once}" if submit.at_once else ""
    number = "/%a" if submission.is_array else ""
    asked = {
        "--job-name": submission.name,
        "--array": f"0-{last}{at_once}" if submission.is_array else None,
        "--nodes": str(resources.nodes),
        "--ntasks": str(resources.tasks),
        "--ntasks-per-node": str(per_node),
        "--cpus-per-task": str(resources.cpus_per_task),
        "--mem": f"{mebibytes}M",
        "--time": f"{minutes // 1440}-{minutes // 60 % 24:02}:{minutes % 60:02}:00",
        "--gres": f"gpu:{resources.gpus_per_task * per_node}" if resources.gpus_per_task else None,
        "--partition": submit.partition,
        "--account": submit.account,
        "--qos": submit.qos,
        "--constraint": submit.constraint,
        "--chdir": _quoted(submission.working_folder),
        "--output": _quoted(submission.folder, f"{number}/output.txt"),
        "--signal": f"USR2@{_NOTICE_SECONDS}",
        "--open-mode": "append",
    }
    lines = [f"{name}={value}" for name, value in asked.items() if value is not None]
    lines.append("--requeue" if submit.restarts else "--no-requeue")
    skipped = {name.partition("=")[0] for name in submit.skip}
    return [line for line in lines if line.partition("=")[0] not in skipped] + submit.extra


def _quoted(folder: Path, end: str = "") -> str:
    """Return a path for a directive; ``%`` in it is no pattern.

    Raises
    ------
    ConfigError
    """
    text = _plain(folder)
    if end:
        if "\\" in text:
            raise ConfigError(
                "submit.path_with_backslash", value=text, rule="Slurm opens no log there",
                hint="rename the folder",
            )  # fmt: skip
        text = text.replace("%", "%%") + end
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if escaped != shlex.quote(text) else escaped


def _plain(path: Path) -> str:
    text = str(path)
    if "\n" in text or "\r" in text:
        raise ConfigError(
            "submit.path_with_line_end", value=text, rule="a script can have no such path",
            hint="rename the folder",
        )  # fmt: skip
    return text
