"""The script that starts the tasks of a job on this machine."""

import shlex

from gpuseg.jobs.submit.base import Submission
from gpuseg.jobs.submit.task_command import preparation, task_command

EXIT_CODE = "exit_code"
"""Name of the file with an exit code: in the folder of each job at its end, and in that of the
submission at the end of the script."""

_RUN = """\
run_job() {
  tasks=()
  for rank in $(seq 0 $((size - 1))); do
    GPUSEG_RANK=$rank GPUSEG_SIZE=$size GPUSEG_LOCAL_RANK=$rank GPUSEG_LOCAL_SIZE=$size \\
      GPUSEG_ATTEMPT=$attempt TASK >>"$1"/output.txt 2>&1 &
    tasks+=($!)
  done
  ends=()
  for task in "${tasks[@]}"; do
    wait "$task"; code=$?
    while kill -0 "$task" 2>/dev/null; do wait "$task"; code=$?; done  # a signal ends `wait`
    ends+=("$code")
  done
  # The first task drives the run; if it was killed, the others say so.
  for code in "${ends[@]}"; do
    if [ "$code" -le 130 ]; then return "$code"; fi
  done
  return 4
}
keep() { echo "$1" >"$2"/EXIT_CODE.part && mv "$2"/EXIT_CODE.part "$2"/EXIT_CODE; }
pass_on() { ended=yes; kill "-$1" "${tasks[@]}" 2>/dev/null; }
trap 'pass_on INT' INT
trap 'pass_on TERM' TERM
trap 'pass_on USR2' USR2
"""


def local_script(submission: Submission) -> str:
    """Return the script of a job or an array, whose jobs run one after the other."""
    folder = shlex.quote(str(submission.folder))
    members = range(len(submission.members)) if submission.is_array else [""]
    folders = " ".join(f'"$folder"/{number}' if number != "" else '"$folder"' for number in members)
    lines = [
        "#!/bin/bash",
        "# Written by gpuseg submit.",
        f"cd {shlex.quote(str(submission.working_folder))} || exit 4",
        f"folder={folder}",
        f"size={submission.resources.tasks} tasks=() ended= result=0",
        "attempt=$$-$(date +%s)",
        *preparation(submission.submit.environment, submission.submit.setup),
        _RUN.replace("EXIT_CODE", EXIT_CODE).replace(
            "TASK", task_command(submission.submit, '"$1"/job.toml')
        )
        + f"for each in {folders}; do",
        '  run_job "$each"; code=$?',
        '  keep "$code" "$each"',
        '  if [ "$code" -gt "$result" ]; then result=$code; fi',
        '  if [ -n "$ended" ]; then break; fi',
        "done",
        'keep "$result" "$folder"',
        'exit "$result"',
    ]  # fmt: skip
    return "\n".join(lines) + "\n"
