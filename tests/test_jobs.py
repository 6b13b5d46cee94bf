"""Comparisons in jobs of a real SLURM, which the tests start and end."""

import contextlib
import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from programs import TINY, compare, start, write_set

pytest.importorskip("submitit", reason="the extra `slurm` is not installed")


CONFIGS = ("smoke", "smoke+model.adder=shift", "--output", "out", "--seeds", 2, "training.epochs=2", *TINY)
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=0
SlurmdTimeout=6
ReturnToService=2
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores}
PartitionName=all Nodes=ALL Default=YES
"""


def wait_until(is_true, seconds: float) -> None:
    """Wait until a condition holds; fail if that takes longer."""
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)


def job_states() -> dict[str, str]:
    answer = subprocess.run(["squeue", "-h", "-t", "all", "-o", "%A %T"], capture_output=True, text=True)
    return dict(line.split() for line in answer.stdout.splitlines())


class Slurm:
    """A SLURM of this machine alone, without accounting."""

    def __init__(self, place: Path):
        self.place, self.daemons = place, {}
        for folder in ("state", "spool"):
            (place / folder).mkdir()
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
            ports = [each.getsockname()[1] for each in (one, other)]
        about = {"host": socket.gethostname().split(".")[0], "user": getpass.getuser(), "cores": os.cpu_count()}
        (place / "slurm.conf").write_text(CONF.format(place=place, ports=ports, **about))

    def start(self, *command: str) -> None:
        with (self.place / "log").open("a") as log:
            self.daemons[command[0]] = subprocess.Popen(command, stdout=log, stderr=log)

    def start_all(self) -> None:
        self.start("slurmctld", "-D")
        self.start("slurmd", "-D")
        idle = ["sinfo", "-h", "-o", "%T"]
        wait_until(lambda: subprocess.run(idle, capture_output=True, text=True).stdout == "idle\n", 60)

    def kill(self, *names: str, job: str | None = None) -> None:
        """Kill daemons, and a job with the daemons that control it, as if its node had lost power."""
        for name in names:
            self.daemons[name].kill()
            self.daemons[name].wait()
        wanted = {f"SLURM_CONF={self.place / 'slurm.conf'}", f"SLURM_JOB_ID={job}"}
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended
                if wanted <= set((process / "environ").read_text("latin-1").split("\0")):
                    parent = Path("/proc", (process / "stat").read_text().rpartition(")")[2].split()[1])
                    is_daemon = (parent / "comm").read_text().startswith("slurmstepd")
                    for each in [parent] * is_daemon + [process]:
                        os.kill(int(each.name), signal.SIGKILL)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A running SLURM, which the commands of this process and its children use."""
    if missing := [name for name in ("slurmctld", "slurmd", "squeue") if not shutil.which(name)]:
        pytest.skip(f"needs Debian's slurmctld, slurmd and slurm-client; no {', '.join(missing)} here")
    slurm = Slurm(tmp_path_factory.mktemp("slurm"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(slurm.place / "slurm.conf"))
        try:
            slurm.start_all()
            yield slurm
        finally:
            for job in job_states():
                slurm.kill(job=job)
            slurm.kill(*slurm.daemons)


@pytest.mark.slow
def test_slurm_jobs_that_end_without_results_are_named_soon_and_a_killed_program_goes_on(slurm, tmp_path):
    write_set(tmp_path / "images", train=576, test=64)
    arguments = (*CONFIGS, "--submit", "slurm", "--workers", 1)

    def submitted() -> list[str]:
        """Return the jobs' IDs, that of smoke first."""
        jobs = sorted((tmp_path / "out" / "jobs").glob("smoke*"), key=lambda path: len(path.name))
        return [path.read_text() for path in jobs]

    def are_running() -> bool:
        states = job_states()
        return len(submitted()) == 2 and all(states.get(job) == "RUNNING" for job in submitted())

    waiting = start(*arguments, program="compare", cwd=tmp_path)
    wait_until(are_running, 120)
    plain, shifted = first = submitted()
    subprocess.run(["scancel", plain], check=True)
    wait_until(lambda: job_states()[plain] == "CANCELLED", 60)
    slurm.kill("slurmd", job=shifted)
    wait_until(lambda: job_states()[shifted] == "NODE_FAIL", 60)
    wait_until(lambda: waiting.poll() is not None, 10)
    output, errors = waiting.communicate()
    assert waiting.returncode == 1, errors
    assert re.search(r"smoke, seeds \[(0, )?1\]: CANCELLED: ", output)  # the first may have ended before
    assert re.search(r"smoke-adder-shift, seeds \[(0, )?1\]: NODE_FAIL: ", output)
    assert errors == "error: 2 of 2 jobs ended without results; --retry-failed submits them again\n"

    slurm.start("slurmd", "-D")
    waiting = start(*arguments, "--retry-failed", program="compare", cwd=tmp_path)
    wait_until(are_running, 120)
    waiting.kill()
    waiting.communicate()
    second = submitted()
    assert not set(first) & set(second)
    assert "jobs: 2," in compare(*arguments, cwd=tmp_path)
    assert submitted() == second
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 4
