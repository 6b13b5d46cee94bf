"""The runs of a comparison as submitit jobs, on this machine or on SLURM.

Jobs and programs share only the comparison's folder. Its `jobs/local` or `jobs/slurm` holds submitit's logs, and a file
for each job, created before the job is submitted so that two programs never submit the same job. It then holds the
job's ID.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import submitit

from experiments.comparison.contestants import Contestant, locate_runs, train
from experiments.training.record import differences
from mnistsum.app.compiler import set_up_compiler
from mnistsum.data import load
from mnistsum.errors import InputError
from mnistsum.registry import load_file

KINDS = {"local": submitit.LocalJob, "slurm": submitit.SlurmJob}
POLL_FOLDERS = 1.0  # seconds between looks at the runs' folders
POLL_STATES = 5.0  # seconds between looks at the jobs' states; submitit asks SLURM less and less often
SUBMIT_TIMEOUT = 60.0  # seconds that a submission may take


class JobSpec(NamedTuple):
    """What one job trains: some seeds of a config."""

    contestant: Contestant
    folders: dict[int, Path]  # by seed; each exists once its run has ended
    record: dict[str, Any]  # the record of what decides these runs, made by the submitting program
    files: tuple[Path, ...]  # the user's, which define names that the config uses

    @property
    def name(self) -> str:
        """Unique name of the job, valid as a file name."""
        return f"{self.folders[min(self.folders)].name}-{max(self.folders)}"

    def missing(self) -> list[int]:
        """Return the seeds whose runs have not ended."""
        return [seed for seed, folder in self.folders.items() if not folder.exists()]


def run_job(spec: JobSpec) -> None:
    """Train the missing runs of a spec, within its job."""
    if os.environ.get("SUBMITIT_EXECUTOR") == "local":  # submitit ignores SIGTERM, so `kill ID` would do nothing
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    set_up_compiler()
    for file in spec.files:
        load_file(file)
    contestant = spec.contestant
    data = load(contestant.config.data)
    run_set = locate_runs(contestant, data, list(spec.folders))
    if run_set.folders != spec.folders:
        found = "; ".join(differences(spec.record, run_set.record))
        raise InputError(f"not the run that was asked for: {found}; submit from a machine of the job's kind")
    train(contestant, run_set, data, lambda **_: None)


class Jobs:
    """The jobs of a comparison's folder, on `local` or `slurm`."""

    def __init__(self, cluster: str, folder: Path):
        self.folder = folder / "jobs" / cluster  # a job ID is valid on its own cluster only
        try:
            self.executor = submitit.AutoExecutor(self.folder / "logs", cluster=cluster)
        except RuntimeError as error:  # where there is no SLURM
            raise InputError(f"--submit {cluster}: {error}") from None
        self.folder.mkdir(parents=True, exist_ok=True)
        # A time limit of a day, the partition's defaults for the rest; the user's SBATCH_ variables override both.
        self.executor.update_parameters(timeout_min=24 * 60, slurm_job_name="mnistsum")
        self.submitted: dict[str, Any] = {}  # by this process; name to job
        self.others: dict[str, Any] = {}  # submitted by other processes; ID to job

    def submit(self, spec: JobSpec, again: bool) -> None:
        """Submit a job unless it was submitted before; if that job has ended, resubmit it only if `again`."""
        job_file = self.folder / spec.name
        # Ctrl-C is for the waiting program only: a local job inherits the ignored SIGINT.
        interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with filelock.FileLock(self.folder / "lock"):  # or a program could remove what another has just submitted
                if again and job_file.exists() and self.is_over(spec):
                    job_file.unlink()
                try:
                    file = job_file.open("x")
                except FileExistsError:  # it was submitted before
                    return
            with file:
                try:
                    self.submitted[spec.name] = self.executor.submit(run_job, spec)
                except Exception as error:
                    job_file.unlink(missing_ok=True)
                    message = str(error).strip().splitlines() or [type(error).__name__]
                    raise OSError(f"{self.executor.cluster}: did not accept the job: {message[-1]}") from error
                file.write(self.submitted[spec.name].job_id)
        finally:
            signal.signal(signal.SIGINT, interrupt)

    def is_over(self, spec: JobSpec) -> bool:
        """Return whether a spec's job is neither running nor waiting to run."""
        return self._has_ended(spec, self._job(spec))

    def _has_ended(self, spec: JobSpec, job: Any) -> bool:
        if job is None:
            try:
                return time.time() - (self.folder / spec.name).stat().st_mtime > SUBMIT_TIMEOUT
            except FileNotFoundError:  # the cluster did not accept the job
                return True
        if spec.name in self.submitted or not isinstance(job, submitit.LocalJob):
            return job.done()  # submitit asks SLURM for all jobs at once, less and less often
        try:  # another process's child, whose state submitit does not know
            os.kill(int(job.job_id), 0)
            command = Path(f"/proc/{job.job_id}/cmdline")
            return command.exists() and b"submitit" not in command.read_bytes()  # another process has its PID by now
        except OSError:  # it has ended, or its PID is another user's process by now
            return True

    def explain(self, spec: JobSpec) -> str:
        """Return why a job ended without results, as far as its log shows, and where the log is."""
        job = self._job(spec)
        if job is None:
            return "it was never submitted"
        lines = (job.stderr() or "").strip().splitlines()
        reason = lines[-1] if lines else "it was killed"
        if self.executor.cluster == "slurm":
            reason = f"{job.state} ({reason})"
        return f"{reason}; see {job.paths.stderr}"

    def wait(self, specs: list[JobSpec], on_finished: Callable[[JobSpec, int], None]) -> list[JobSpec]:
        """Wait for the jobs, call `on_finished` once per finished run, return the specs with missing runs."""
        waiting, failed = list(specs), []
        finished: set[Path] = set()
        last_poll = -POLL_STATES
        while waiting:
            ended: set[str] = set()
            if time.monotonic() - last_poll >= POLL_STATES:
                jobs = {spec.name: self._job(spec) for spec in waiting if spec.missing()}
                # Only now, when submitit knows all jobs, so that it asks SLURM once.
                ended = {spec.name for spec in waiting if spec.name in jobs and self._has_ended(spec, jobs[spec.name])}
                last_poll = time.monotonic()
            for spec in list(waiting):
                missing = spec.missing()  # only now: a job may end after its state was asked for
                for seed, folder in spec.folders.items():
                    if seed not in missing and folder not in finished:
                        finished.add(folder)
                        on_finished(spec, seed)
                if not missing or spec.name in ended:
                    waiting.remove(spec)
                    failed += [spec] if missing else []
            if waiting:
                time.sleep(POLL_FOLDERS)
        return failed

    def _job(self, spec: JobSpec) -> Any:
        """Return a spec's job; None while it is being submitted, or if the cluster did not accept it."""
        if spec.name in self.submitted:
            return self.submitted[spec.name]
        try:
            job_id = (self.folder / spec.name).read_text()
        except FileNotFoundError:  # another program removed it, as the cluster did not accept the job
            return None
        if job_id and job_id not in self.others:
            self.others[job_id] = KINDS[self.executor.cluster](self.executor.folder, job_id)
        return self.others.get(job_id)
