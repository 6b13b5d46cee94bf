"""Comparisons in jobs of a real SLURM, which the tests start and end."""

import getpass
import os
import re
import shutil
import socket
import subprocess
import time

import pytest
from programs import TINY, compare, finish, start, write_set

pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
pytestmark = pytest.mark.slow
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
ReturnToService=2
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores}
PartitionName=all Nodes=ALL Default=YES
"""


def wait_until(is_true, seconds):
    """Wait until a condition holds; fail if that takes longer."""
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)


def ask(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout


def job_states():
    return dict(
        line.split()
        for line in ask("squeue", "-h", "-t", "all", "-o", "%A %T").splitlines()
    )


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A SLURM of this machine alone, which this process and its children use."""
    if missing := [
        name for name in ("slurmctld", "slurmd", "squeue") if not shutil.which(name)
    ]:
        pytest.skip(
            f"needs Debian's slurmctld, slurmd and slurm-client; no {missing[0]} here"
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


def test_slurm_jobs_without_results_are_named_and_submitted_again(slurm, tmp_path):
    write_set(tmp_path / "images")
    arguments = (*CONFIGS, "--submit", "slurm", "--workers", 1)

    def submitted():
        """Return the jobs' IDs, that of smoke first."""
        jobs = (tmp_path / "out" / "jobs").glob("smoke*")
        return [path.read_text() for path in sorted(jobs, key=lambda p: len(p.name))]

    def wait_for_jobs(but=()):
        """Return the IDs of two submitted jobs that are none of these."""
        wait_until(lambda: len({*submitted()} - {*but}) == 2, 120)
        return submitted()

    # Held, so that one is cancelled before it starts: submitit ignores the signal until
    # our code runs.
    waiting = start(*arguments, program="compare", cwd=tmp_path, SBATCH_HOLD="1")
    plain, shifted = first = wait_for_jobs()
    ask("scancel", plain)
    ask("scontrol", "release", shifted)
    wait_until(lambda: job_states().get(shifted) == "RUNNING", 60)
    ask("scancel", "--signal=KILL", "--full", shifted)
    output, errors = finish(waiting, status=1)
    assert "smoke, seeds [0, 1]: CANCELLED: " in output
    # the first may have ended before
    assert re.search(r"smoke-adder-shift, seeds \[(0, )?1\]: [A-Z]+: ", output)
    ended = "2 of 2 jobs ended without results; the same command submits them again"
    assert errors == f"error: {ended}\n"

    waiting = start(*arguments, program="compare", cwd=tmp_path)
    second = wait_for_jobs(but=first)
    waiting.kill()
    waiting.communicate()
    assert "jobs: 2," in compare(*arguments, cwd=tmp_path)
    assert submitted() == second
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 4


def test_a_cancelled_slurm_job_ends_at_once(slurm, tmp_path):
    """It does not go on, with new workers, until SLURM kills it."""
    write_set(tmp_path / "images")
    options = ("--submit", "slurm", "--workers", 1, "training.epochs=100000")
    waiting = start(*CONFIGS, *options, program="compare", cwd=tmp_path)
    folders = tmp_path / "out" / "runs"
    wait_until(lambda: len([*folders.glob(".*")]) == 2, 120)  # both train
    ask("scancel", "--me")
    output, _ = finish(waiting, status=1)
    assert output.count("seeds [0, 1]: CANCELLED: ") == 2
    assert len([*folders.iterdir()]) == 2  # the second seeds were not begun
