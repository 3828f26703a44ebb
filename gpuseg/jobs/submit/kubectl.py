"""Call kubectl, which knows the cluster and who the user is."""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

from gpuseg.errors import ResourceError
from gpuseg.jobs.submit.commands import require_commands, run_command

_LOG_LINE = re.compile(r"[EWI]\d{4} ")
"""Begin of a line of its log, which comes before the sentence that kubectl ends with."""


def kubectl(*arguments: str, text: str = "") -> str:
    """Return what kubectl prints.

    Parameters
    ----------
    *arguments : str
    text : str
        Its standard input: other users of this machine see the arguments.

    Raises
    ------
    ResourceError
        If there is no kubectl, or it fails, or the cluster does not answer.
    """
    require_kubectl()
    done = run_command(["kubectl", *arguments], text)
    if done.returncode:
        raise _failed(arguments, done.stderr.strip())
    return done.stdout


def kubectl_items(*arguments: str) -> list[dict[str, Any]]:
    """Return the objects that `kubectl get` finds.

    Raises
    ------
    ResourceError
    """
    items: list[dict[str, Any]] = json.loads(kubectl("get", *arguments, "-o", "json"))["items"]
    return items


def kubectl_lines(*arguments: str) -> Iterator[str]:
    """Yield the lines that kubectl prints, as it prints them.

    Raises
    ------
    ResourceError
    """
    require_kubectl()
    process = subprocess.Popen(
        ["kubectl", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, errors="replace",
    )  # fmt: skip
    with process:
        try:
            yield from process.stdout or ()
            _, problem = process.communicate()
        finally:
            process.kill()  # whoever reads may stop before the end
    if process.returncode:
        raise _failed(arguments, problem.strip())


def require_kubectl() -> None:
    """Refuse to go on without kubectl.

    Raises
    ------
    ResourceError
    """
    require_commands(
        ["kubectl"], "install it, or print the manifest with --dry-run and apply it elsewhere"
    )


def _failed(arguments: tuple[str, ...], reason: str) -> ResourceError:
    lines = [line for line in reason.splitlines() if not _LOG_LINE.match(line)]
    return ResourceError(
        "submit.kubectl_failed",
        f"'kubectl {arguments[0]}' failed",
        reason="\n".join(lines) or reason,
        hint="try 'kubectl auth can-i create jobs' and 'kubectl config current-context'",
    )
