"""Comparisons in jobs of a real SLURM, which the tests start and end."""

import getpass
import os
import re
import shutil
import socket
import subprocess
import time

import pytest
from programs import TINY, compare, start, write_set

pytest.importorskip("submitit", reason="the extra `slurm` is not installed")


CONFIGS = (
    "smoke",
    "smoke+model.adder=shift",
    "--output",
    "out",
    "--seeds",
    2,
    "training.epochs=2",
    *TINY,
)
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


def ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


def job_states() -> dict[str, str]:
    return dict(
        line.split()
        for line in ask("squeue", "-h", "-t", "all", "-o", "%A %T").splitlines()
    )


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A running SLURM of this machine alone, without accounting, which this process and its children use."""
    if missing := [
        name for name in ("slurmctld", "slurmd", "squeue") if not shutil.which(name)
    ]:
        pytest.skip(
            f"needs Debian's slurmctld, slurmd and slurm-client; no {', '.join(missing)} here"
        )
    place = tmp_path_factory.mktemp("slurm")
    for folder in ("state", "spool"):
        (place / folder).mkdir()
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        ports = [each.getsockname()[1] for each in (one, other)]
    about = {
        "host": socket.gethostname().split(".")[0],
        "user": getpass.getuser(),
        "cores": os.cpu_count(),
    }
    (place / "slurm.conf").write_text(CONF.format(place=place, ports=ports, **about))
    with pytest.MonkeyPatch.context() as patch, (place / "log").open("a") as log:
        patch.setenv("SLURM_CONF", str(place / "slurm.conf"))
        daemons = [
            subprocess.Popen([name, "-D"], stdout=log, stderr=log)
            for name in ("slurmctld", "slurmd")
        ]
        try:
            wait_until(lambda: "idle" in ask("sinfo", "-h", "-o", "%T"), 60)
            yield
        finally:
            ask("scancel", "--me", "--signal=KILL", "--full")
            for daemon in daemons:
                daemon.kill()
                daemon.wait()


@pytest.mark.slow
def test_slurm_jobs_that_end_without_results_are_named_soon_and_submitted_again(
    slurm, tmp_path
):
    write_set(tmp_path / "images", train=576, test=64)
    arguments = (*CONFIGS, "--submit", "slurm", "--workers", 1)

    def submitted() -> list[str]:
        """Return the jobs' IDs, that of smoke first."""
        jobs = sorted(
            (tmp_path / "out" / "jobs").glob("smoke*"), key=lambda path: len(path.name)
        )
        return [path.read_text() for path in jobs]

    def are_running() -> bool:
        states = job_states()
        return len(submitted()) == 2 and all(
            states.get(job) == "RUNNING" for job in submitted()
        )

    waiting = start(*arguments, program="compare", cwd=tmp_path)
    wait_until(are_running, 120)
    plain, shifted = first = submitted()
    ask("scancel", plain)
    ask("scancel", "--signal=KILL", "--full", shifted)
    wait_until(lambda: waiting.poll() is not None, 60)
    output, errors = waiting.communicate()
    assert waiting.returncode == 1, errors
    # the first may have ended before
    assert re.search(r"smoke, seeds \[(0, )?1\]: CANCELLED: ", output)
    assert re.search(r"smoke-adder-shift, seeds \[(0, )?1\]: [A-Z]+: ", output)
    assert (
        errors
        == "error: 2 of 2 jobs ended without results; the same command submits them again\n"
    )

    waiting = start(*arguments, program="compare", cwd=tmp_path)
    wait_until(are_running, 120)
    waiting.kill()
    waiting.communicate()
    second = submitted()
    assert not set(first) & set(second)
    assert "jobs: 2," in compare(*arguments, cwd=tmp_path)
    assert submitted() == second
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 4
