"""The script that starts the tasks of a job on this machine."""

import shlex
from pathlib import Path

from gpuseg.jobs.submit.base import Submission
from gpuseg.jobs.submit.task_command import preparation, task_command

_EXIT_CODE = "exit_code-"
"""Name of the file with an exit code, before the id of the process of the script: in the folder of
each job at its end, and in that of the submission at the end of the script. A later job of the
output has another one."""


def exit_code_file(folder: Path, job_id: str) -> Path:
    """Return the file in the folder of a job with its exit code, once it has ended."""
    return folder / f"{_EXIT_CODE}{job_id.partition('-')[0]}"


_RUN = """\
run_job() {
  job_tasks=()
  for job_rank in $(seq 0 $((job_size - 1))); do
    GPUSEG_RANK=$job_rank GPUSEG_SIZE=$job_size GPUSEG_LOCAL_RANK=$job_rank \\
      GPUSEG_LOCAL_SIZE=$job_size GPUSEG_ATTEMPT=$job_attempt TASK >>"$1"/output.txt 2>&1 &
    job_tasks+=($!)
  done
  job_ends=()
  for job_task in "${job_tasks[@]}"; do
    wait "$job_task"; job_code=$?
    while kill -0 "$job_task" 2>/dev/null; do  # a signal ends `wait`
      wait "$job_task"; job_code=$?
    done
    job_ends+=("$job_code")
  done
  # The first task drives the run; if it was killed, the others say so.
  for job_code in "${job_ends[@]}"; do
    if [ "$job_code" -le 130 ]; then return "$job_code"; fi
  done
  return 4
}
keep() { echo "$1" >"$2"/.EXIT_CODE$$ && mv "$2"/.EXIT_CODE$$ "$2"/EXIT_CODE$$; }
forget() { rm -f "$1"/EXIT_CODE$$; }  # of an earlier process with this number
pass_on() { job_ended=yes; kill "-$1" "${job_tasks[@]}" 2>/dev/null; }
trap 'pass_on INT' INT
trap 'pass_on TERM' TERM
trap 'pass_on USR2' USR2
"""


def local_script(submission: Submission) -> str:
    """Return the script of a job or an array, whose jobs run one after the other.

    Its variables begin with ``job_``, to keep apart from those of the user's environment.
    """
    folder = shlex.quote(str(submission.folder))
    members = range(len(submission.members)) if submission.is_array else [""]
    folders = " ".join(
        f'"$job_folder"/{number}' if number != "" else '"$job_folder"' for number in members
    )
    lines = [
        "#!/bin/bash",
        "# Written by gpuseg submit.",
        f"cd {shlex.quote(str(submission.working_folder))} || exit 4",
        f"job_folder={folder}",
        f"job_size={submission.resources.tasks} job_tasks=() job_ended= job_result=0",
        "job_attempt=$$-$(date +%s)",
        *preparation(submission.submit.environment, submission.submit.setup),
        _RUN.replace("EXIT_CODE", _EXIT_CODE).replace(
            "TASK", task_command(submission.submit, '"$1"/job.toml')
        )
        + f"job_folders=({folders})",
        'for job_each in "${job_folders[@]}" "$job_folder"; do forget "$job_each"; done',
        'for job_each in "${job_folders[@]}"; do',
        '  run_job "$job_each"; job_code=$?',
        '  keep "$job_code" "$job_each"',
        '  if [ "$job_code" -gt "$job_result" ]; then job_result=$job_code; fi',
        '  if [ -n "$job_ended" ]; then break; fi',
        "done",
        'keep "$job_result" "$job_folder"',
        'exit "$job_result"',
    ]  # fmt: skip
    return "\n".join(lines) + "\n"
