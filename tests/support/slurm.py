"""A real Slurm of two nodes on this machine: Debian's packages, unpacked into a folder."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

PACKAGES = (
    *("slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins"),
    *("munge", "libmunge2", "libhwloc15", "liblua5.1-0"),
)

CONFIGURATION = """\
ClusterName=t
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/controller.log
SlurmdLogFile={folder}/%n.log
PluginDir={plugins}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmctldParameters=preempt_send_user_signal
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=5
MinJobAge=300
InactiveLimit=0
SlurmctldTimeout=60
SlurmdTimeout=10
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={n1} CPUs=2 RealMemory=8000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={n2} CPUs=2 RealMemory=8000
PartitionName=low Nodes=ALL Default=YES MaxTime=60 PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=high Nodes=ALL MaxTime=60 PriorityTier=10 PreemptMode=OFF
"""

NODES = ("n1", "n2")


class NoSlurm(Exception):
    """Why there can be no Slurm here."""


class SlurmCluster:
    """Slurm's daemons, whose processes are ended one by one.

    Attributes
    ----------
    environment : mapping
        Variables with which Slurm's commands reach it.
    unshared : Path
        A folder that the second node does not see, where this may be (in a namespace of mounts).
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self._root, self._folder, self.unshared = root, folder, folder / "unshared"
        libraries = root / "usr/lib/x86_64-linux-gnu"
        self.environment: Mapping[str, str] = {
            "PATH": f"{root}/usr/bin:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": f"{libraries}:{libraries}/slurm-wlm",
            "SLURM_CONF": str(folder / "slurm.conf"),
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        ports = dict(zip(("controller", *NODES), _free_ports(3), strict=True))
        (folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=socket.gethostname().partition(".")[0], folder=folder,
                plugins=libraries / "slurm-wlm", **ports,
            )
        )  # fmt: skip

    def start(self) -> None:
        """Start munge, the controller and the nodes, and wait until the nodes are idle."""
        munge = self._folder / "munge"
        munge.mkdir(mode=0o755)
        key = munge / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        files = [f"--{name}-file={munge / name}" for name in ("key", "pid", "log", "seed")]
        self._start("munge", "munged", "--foreground", "--force", f"--socket={munge / 'socket'}",
                    *files)  # fmt: skip
        _wait_until(lambda: (munge / "socket").exists(), "munge")
        (self._folder / "state").mkdir()
        self._start("controller", "slurmctld-wlm", "-i", "-D")
        for node in NODES:
            self.start_node(node)
        _wait_until(lambda: self.command("sinfo", "-h", "-o", "%D %t") == "2 idle", "the nodes")

    def start_node(self, node: str) -> None:
        """Start the daemon of a node; the second one has a folder `unshared` of its own."""
        self.unshared.mkdir(exist_ok=True)
        self._start(node, "slurmd-wlm", "-D", "-N", node, "-d", f"{self._root}/usr/sbin/"
                    "slurmstepd-wlm")  # fmt: skip

    def kill_node(self, node: str) -> None:
        """Kill the daemon of a node and all processes of jobs on it, as a lost machine would."""
        daemon = self._processes.pop(node)
        daemon.kill()
        daemon.wait()
        tasks = self._tasks_on(node)
        for process in [*_watchers_of(tasks), *tasks]:  # what watches must not report a task
            with suppress(psutil.Error):
                process.kill()

    def command(self, *arguments: str) -> str:
        """Return what a command of Slurm prints."""
        done = subprocess.run(
            arguments, capture_output=True, text=True, check=False,
            env={**os.environ, **self.environment},
        )  # fmt: skip
        return done.stdout.strip()

    def stop(self) -> None:
        """End all jobs and all daemons."""
        if "controller" in self._processes:
            with suppress(OSError):
                self.command("scancel", "--user=root")
            _wait_until(lambda: not self.command("squeue", "-h"), "the end of the jobs", 30)
        for process in reversed(self._processes.values()):
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, name: str, program: str, *arguments: str) -> None:
        hide = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0"; exec "$@"')
        before = (*hide, str(self.unshared)) if name == NODES[1] else ()
        log = (self._folder / f"{name}.out").open("wb")
        with log:
            self._processes[name] = subprocess.Popen(
                [*before, f"{self._root}/usr/sbin/{program}", *arguments], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env={**os.environ, **self.environment},
            )  # fmt: skip

    def _tasks_on(self, node: str) -> list[psutil.Process]:
        """Return the processes of jobs on a node of this Slurm; others have the same names."""
        variables = {"SLURMD_NODENAME": node, "SLURM_CONF": self.environment["SLURM_CONF"]}
        tasks = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if variables.items() <= process.environ().items():
                    tasks.append(process)
        return tasks


def _watchers_of(tasks: list[psutil.Process]) -> set[psutil.Process]:
    """Return the processes of Slurm that start tasks and wait for their end."""
    watchers = set[psutil.Process]()
    for task in tasks:
        with suppress(psutil.Error):
            watchers.update(each for each in task.parents() if "slurmstepd" in each.name())
    return watchers


@contextmanager
def slurm_cluster(cache: Path, folder: Path) -> Iterator[SlurmCluster]:
    """Start Slurm, and stop it.

    Parameters
    ----------
    cache : Path
        Where the packages are kept.
    folder : Path
        Of its files; a short path, since sockets are in it.

    Raises
    ------
    NoSlurm
    """
    root = _unpacked(cache)
    cluster = SlurmCluster(root, folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def _unpacked(cache: Path) -> Path:
    """Return the folder of the packages; they are downloaded once."""
    if os.geteuid() != 0:
        raise NoSlurm("Slurm's daemons need root to start the tasks of jobs")
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise NoSlurm(f"there is no {program} to get Slurm by")
    cache.mkdir(parents=True, exist_ok=True)
    root, done = cache / "root", cache / "root/complete"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(root, ignore_errors=True)
            _download(cache)
            for package in sorted(cache.glob("*.deb")):
                subprocess.run(["dpkg", "-x", package, root], check=True, capture_output=True)
            done.touch()
    return root


def _download(cache: Path) -> None:
    options = ["-o", "APT::Sandbox::User=root", "-o", "Acquire::http::Timeout=20"]
    try:
        subprocess.run(
            ["apt-get", *options, "download", *PACKAGES], cwd=cache, check=True,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    except subprocess.SubprocessError as error:
        lines = str(getattr(error, "stderr", "") or error).strip().splitlines()
        raise NoSlurm(f"apt-get cannot download Slurm ({lines[-1] if lines else ''})") from None


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait_until(is_there: object, what: str, seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not is_there():  # type: ignore[operator]
        if time.monotonic() > limit:
            raise NoSlurm(f"Slurm: {what} took more than {seconds:.0f} s")
        time.sleep(0.1)
