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

from experiments.comparison.contestants import Contestant, train, want
from experiments.training.record import differences
from mnistsum.app.compiler import set_up_compiler
from mnistsum.data import load
from mnistsum.errors import InputError
from mnistsum.registry import load_file

KINDS = {"local": submitit.LocalJob, "slurm": submitit.SlurmJob}
POLL_FOLDERS = 1.0  # seconds between looks at the runs' folders
POLL_STATES = 5.0  # seconds between looks at the jobs' states; submitit asks SLURM less and less often
SUBMIT_TIMEOUT = 60.0  # seconds that a submission may take


class Part(NamedTuple):
    """What one job trains: some seeds of a config."""

    contestant: Contestant
    folders: dict[int, Path]  # by seed; each exists once its run has ended
    record: dict[str, Any]  # the record of what decides these runs, made by the submitting program
    files: tuple[Path, ...]  # the user's, which define names that the config uses

    @property
    def name(self) -> str:
        """Unique name of the part, valid as a file name."""
        return f"{self.folders[min(self.folders)].name}-{max(self.folders)}"

    def missing(self) -> list[int]:
        """Return the seeds whose runs have not ended."""
        return [seed for seed, folder in self.folders.items() if not folder.exists()]


def work(part: Part) -> None:
    """Train the missing runs of a part, within a job."""
    if os.environ.get("SUBMITIT_EXECUTOR") == "local":  # submitit ignores SIGTERM, so `kill ID` would do nothing
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    set_up_compiler()
    for file in part.files:
        load_file(file)
    contestant = part.contestant
    data = load(contestant.config.data)
    wanted = want(contestant, data, list(part.folders))
    if wanted.folders != part.folders:
        found = "; ".join(differences(part.record, wanted.record))
        raise InputError(f"not the run that was asked for: {found}; submit from a machine of the job's kind")
    train(contestant, wanted, data, lambda **_: None)


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
        self.submitted: dict[str, Any] = {}  # by this process; part name to job
        self.others: dict[str, Any] = {}  # submitted by other processes; ID to job

    def submit(self, part: Part, again: bool) -> None:
        """Submit a part's job unless it was submitted before; if that job has ended, resubmit it only if `again`."""
        record = self.folder / part.name
        # Ctrl-C is for the waiting program only: a local job inherits the ignored SIGINT.
        interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with filelock.FileLock(self.folder / "lock"):  # or a program could remove what another has just submitted
                if again and record.exists() and self.is_over(part):
                    record.unlink()
                try:
                    file = record.open("x")
                except FileExistsError:  # it was submitted before
                    return
            with file:
                try:
                    self.submitted[part.name] = self.executor.submit(work, part)
                except Exception as error:
                    record.unlink(missing_ok=True)
                    said = str(error).strip().splitlines() or [type(error).__name__]
                    raise OSError(f"{self.executor.cluster}: did not accept the job: {said[-1]}") from error
                file.write(self.submitted[part.name].job_id)
        finally:
            signal.signal(signal.SIGINT, interrupt)

    def is_over(self, part: Part) -> bool:
        """Return whether the part's job is neither running nor waiting to run."""
        return self._has_ended(part, self._job(part))

    def _has_ended(self, part: Part, job: Any) -> bool:
        if job is None:
            try:
                return time.time() - (self.folder / part.name).stat().st_mtime > SUBMIT_TIMEOUT
            except FileNotFoundError:  # the cluster did not accept the job
                return True
        if part.name in self.submitted or not isinstance(job, submitit.LocalJob):
            return job.done()  # submitit asks SLURM for all jobs at once, less and less often
        try:  # another process's child, whose state submitit does not know
            os.kill(int(job.job_id), 0)
            command = Path(f"/proc/{job.job_id}/cmdline")
            return command.exists() and b"submitit" not in command.read_bytes()  # another process has its PID by now
        except OSError:  # it has ended, or its PID is another user's process by now
            return True

    def explain(self, part: Part) -> str:
        """Return why a part's job ended without results, as far as its log shows, and where the log is."""
        job = self._job(part)
        if job is None:
            return "it was never submitted"
        lines = (job.stderr() or "").strip().splitlines()
        said = lines[-1] if lines else "it was killed"
        if self.executor.cluster == "slurm":
            said = f"{job.state} ({said})"
        return f"{said}; see {job.paths.stderr}"

    def wait(self, parts: list[Part], on_finished: Callable[[Part, int], None]) -> list[Part]:
        """Wait for the parts' jobs, call `on_finished` once per finished run, return the parts with missing runs."""
        waiting, failed = list(parts), []
        finished: set[Path] = set()
        asked = -POLL_STATES
        while waiting:
            over: set[str] = set()
            if time.monotonic() - asked >= POLL_STATES:
                jobs = {part.name: self._job(part) for part in waiting if part.missing()}
                # Only now, when submitit knows all jobs, so that it asks SLURM once.
                over = {part.name for part in waiting if part.name in jobs and self._has_ended(part, jobs[part.name])}
                asked = time.monotonic()
            for part in list(waiting):
                missing = part.missing()  # only now: a job may end after its state was asked for
                for seed, folder in part.folders.items():
                    if seed not in missing and folder not in finished:
                        finished.add(folder)
                        on_finished(part, seed)
                if not missing or part.name in over:
                    waiting.remove(part)
                    failed += [part] if missing else []
            if waiting:
                time.sleep(POLL_FOLDERS)
        return failed

    def _job(self, part: Part) -> Any:
        """Return a part's job; None while it is being submitted, or if the cluster did not accept it."""
        if part.name in self.submitted:
            return self.submitted[part.name]
        try:
            job_id = (self.folder / part.name).read_text()
        except FileNotFoundError:  # another program removed it, as the cluster did not accept the job
            return None
        if job_id and job_id not in self.others:
            self.others[job_id] = KINDS[self.executor.cluster](self.executor.folder, job_id)
        return self.others.get(job_id)
