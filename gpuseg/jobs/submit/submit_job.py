"""Submit a job: check it, write its script down, queue it, and remember it."""

import os
from datetime import datetime
from pathlib import Path

from gpuseg.errors import ConfigError, ResourceError
from gpuseg.io.output.run_folder import SUBMISSION, make_private
from gpuseg.jobs.submit.base import JobLauncher, Submission
from gpuseg.jobs.submit.registry import (
    JobRecord,
    all_records,
    now,
    require_room,
    same_for_all,
    write_record,
)
from gpuseg.jobs.submit.toml_text import toml_text
from gpuseg.redaction import redacted


def submit_job(submission: Submission, launcher: JobLauncher) -> JobRecord:
    """Queue what `prepare` has checked.

    Raises
    ------
    ConfigError, ResourceError
    """
    _refuse_active(submission, launcher)
    launcher.check(submission)
    require_room()
    script = submission.folder / launcher.script_name
    try:
        for number, member in enumerate(submission.members):
            make_private(member.folder)
            write_private(member.job_file, toml_text(member.values))
            if submission.is_array:
                make_private(submission.folder)
                if member.folder.parent != submission.folder:
                    link(submission.folder / str(number), member.folder)
        write_private(script, launcher.render(submission))
    except OSError as error:
        raise ResourceError(
            "submit.not_written", f"{error.filename}: cannot be written ({error.strerror})",
            hint="check that the folder of output.path exists and that you may write there",
        ) from None  # fmt: skip
    submitted = now()  # before any process of the job
    job_id = launcher.submit(submission, script)
    try:
        return _register(submission, launcher, job_id, submitted)
    except OSError as error:
        raise ResourceError(
            "submit.not_recorded",
            f"job {job_id} of {launcher.name} is queued, but cannot be written down "
            f"({error.strerror})",
            hint="end it with the commands of its scheduler, or watch it by its output",
        ) from None


def _register(
    submission: Submission, launcher: JobLauncher, job_id: str, submitted: datetime
) -> JobRecord:
    """Write down what was queued, among this user's jobs and beside each output."""
    ids = []
    for number, member in enumerate(submission.members):
        id = f"{job_id}_{number}" if submission.is_array else job_id
        ids.append(id)
        record = JobRecord(
            launcher=launcher.name, job_id=id, output=redacted(member.output),
            folder=str(member.folder), submitted=submitted,
        )  # fmt: skip
        write_record(record)
        write_private(member.folder / SUBMISSION, record.model_dump_json(indent=1))
    if submission.is_array:
        record = JobRecord(
            launcher=launcher.name,
            job_id=job_id,
            output=redacted(submission.output),
            folder=str(submission.folder),
            members=ids, submitted=submitted,
        )  # fmt: skip
        write_record(record)
    return record


def _refuse_active(submission: Submission, launcher: JobLauncher) -> None:
    """Refuse an output that a job writes to, or is queued to write to."""
    outputs = {same_for_all(redacted(member.output)) for member in submission.members}
    for record in all_records():
        if record.launcher != launcher.name or record.members:
            continue
        if same_for_all(record.output) not in outputs:
            continue
        state = launcher.state(record.job_id)
        if not state.has_ended and state.state != "unknown":
            raise ConfigError(
                "submit.active", f"job {record.job_id} is {state.state}, and writes this output",
                value=record.output, parameter="output.path",
                hint=f"wait for it, or end it with `gpuseg cancel {record.job_id}`",
            )  # fmt: skip


def link(path: Path, target: Path) -> None:
    """Let a path lead to a folder."""
    path.unlink(missing_ok=True)
    path.symlink_to(target, target_is_directory=True)


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user may read."""
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as stream:
        stream.write(text)
