"""The runs of a comparison as jobs of SLURM, through submitit.

Jobs and programs share only the comparison's folder. Its folder `jobs` holds submitit's logs, and a file with the ID of
each job.
"""

import os
import subprocess
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import filelock
import submitit

from experiments import cli
from experiments.comparison import contestants
from experiments.comparison.contestants import Contestant
from experiments.report import console
from experiments.training.folder import read_finished
from experiments.training.record import differences
from mnistsum.app.console import say
from mnistsum.config import Config
from mnistsum.errors import InputError, first_line
from mnistsum.file_io import write_whole
from mnistsum.programs import set_up_compiler
from mnistsum.registry import load_file

POLL = 1.0  # seconds between looks at the runs' folders and the jobs' states
WAITING = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED")  # states of jobs that go on


class JobSpec(NamedTuple):
    """What one job trains: some seeds of a config."""

    config: Config
    record: dict[str, dict[str, str]]  # of what decides its runs
    command: str
    tuned: bool
    output: Path
    folders: dict[int, Path]  # by seed; each exists once its run has ended
    own: tuple[Path, ...]  # all users' files of the comparison
    workers: int  # how many runs to train at the same time, at most

    @property
    def name(self) -> str:
        """Unique name of the job, valid as a file name."""
        return f"{self.folders[min(self.folders)].name}-{max(self.folders)}"

    def missing(self) -> list[int]:
        """Return the seeds whose runs have not ended."""
        return [seed for seed, folder in self.folders.items() if not folder.exists()]


def train_in_jobs(options: Namespace, compared: list[Contestant], seeds: Sequence[int]) -> None:
    """Submit jobs for the missing runs and wait for them; raise OSError if some end without results."""
    jobs = Jobs(options.output / "jobs", options.workers)
    size = len(seeds) if options.tune else options.seeds_per_job  # one job tunes a config
    own = tuple(file.absolute() for file in map(cli.own_file, options.configs) if file is not None)
    specs = []
    for contestant in compared:
        folders = list(contestant.runs(seeds).folders.items())
        experiment = contestant.experiment
        about = experiment.config, experiment.record, experiment.command, contestant.tuned, contestant.output
        parts = [dict(folders[i : i + size]) for i in range(0, len(folders), size)]
        specs += [JobSpec(*about, part, own, options.workers) for part in parts]
    existed = {folder for spec in specs for folder in spec.folders.values() if folder.exists()}

    def on_finished(spec: JobSpec, seed: int) -> None:
        folder = spec.folders[seed]
        console.run_line(spec.config.name, seed, read_finished(folder).summary, folder in existed)
        progress.show({folder: 1})

    for spec in specs:
        if spec.missing():
            jobs.submit(spec, options.retry_failed)
    say(f"jobs: {len(specs)}, finished {sum(not spec.missing() for spec in specs)}; logs in {jobs.executor.folder}")
    with console.RunsProgress({folder: 1 for spec in specs for folder in spec.folders.values()}, 0) as progress:
        failed = jobs.wait(specs, on_finished)
    for spec in failed:
        say(f"{spec.config.name}, seeds {spec.missing()}: {jobs.explain(spec)}")
    if failed:
        raise OSError(f"{len(failed)} of {len(specs)} jobs ended without results; --retry-failed submits them again")


def run_job(spec: JobSpec) -> None:
    """Train the missing runs of a spec, within its job."""
    set_up_compiler()
    for file in spec.own:
        load_file(file)
    (contestant,) = contestants.prepare_contestants([spec.config], spec.tuned, spec.output, spec.command)
    if changed := differences(spec.record, contestant.experiment.record):
        raise InputError(f"not the run that was asked for: {'; '.join(changed)}; submit from a machine of this kind")
    workers = min(spec.workers, len(os.sched_getaffinity(0)))  # the cores that SLURM has granted
    contestants.fit_contestants([contestant], list(spec.folders), workers)


class Jobs:
    """The jobs of a comparison."""

    def __init__(self, folder: Path, cores: int):
        self.folder = folder
        try:
            self.executor = submitit.AutoExecutor(folder / "logs", cluster="slurm")
        except RuntimeError as error:  # where there is no SLURM
            raise InputError(f"--submit slurm: {error}") from None
        folder.mkdir(parents=True, exist_ok=True)
        # A time limit of a day, the partition's defaults for the rest; the user's SBATCH_ variables override these.
        cores = int(os.environ.get("SBATCH_CPUS_PER_TASK", cores))
        self.executor.update_parameters(timeout_min=24 * 60, slurm_job_name="mnistsum", cpus_per_task=cores)

    def submit(self, spec: JobSpec, again: bool) -> None:
        """Submit a job unless it was submitted before; if that job has ended, resubmit it only if `again`."""
        job_file = self.folder / spec.name
        try:
            with filelock.FileLock(self.folder / "lock"):  # so that two programs never submit the same job
                if job_file.exists() and not (again and self.ended([spec])):
                    return
                write_whole(job_file, self.executor.submit(run_job, spec).job_id)
        except Exception as error:
            raise OSError(f"SLURM did not accept the job: {first_line(error)}") from error

    def ended(self, specs: list[JobSpec]) -> set[str]:
        """Return the names of the specs whose jobs neither run nor wait to run."""
        ids = [self._job_id(spec) for spec in specs]  # before the states, as another program may submit jobs now
        states = _slurm_states()
        return {
            spec.name
            for spec, job_id in zip(specs, ids, strict=True)
            if job_id is None or (states is not None and states.get(job_id) not in WAITING)
        }

    def explain(self, spec: JobSpec) -> str:
        """Return why a job ended without results, as far as its log shows, and where the log is."""
        job_id = self._job_id(spec)
        if job_id is None:
            return "it was never submitted"
        log = self.folder / "logs" / f"{job_id}_0_log.err"
        lines = log.read_text().strip().splitlines() if log.exists() else []
        state = (_slurm_states() or {}).get(job_id, "ended")
        return f"{state}: {lines[-1] if lines else 'it was killed'}; see {log}"

    def wait(self, specs: list[JobSpec], on_finished: Callable[[JobSpec, int], None]) -> list[JobSpec]:
        """Wait for the jobs, call `on_finished` once per finished run, return the specs with missing runs."""
        waiting, failed = list(specs), []
        finished: set[Path] = set()
        while True:
            ended = self.ended(waiting)  # before its folders are looked at, as it writes them last
            for spec in list(waiting):
                for seed, folder in spec.folders.items():
                    if folder.exists() and folder not in finished:
                        finished.add(folder)
                        on_finished(spec, seed)
                if spec.name in ended or not spec.missing():
                    waiting.remove(spec)
                    failed += [spec] if spec.missing() else []
            if not waiting:
                return failed
            time.sleep(POLL)

    def _job_id(self, spec: JobSpec) -> str | None:
        """Return the ID of a spec's job; None if it was not submitted."""
        job_file = self.folder / spec.name
        return job_file.read_text() if job_file.exists() else None


def _slurm_states() -> dict[str, str] | None:
    """Return the states of the user's jobs by ID, without those that SLURM has forgotten; None if it does not answer.

    Unlike `sacct`, `squeue` works without accounting.
    """
    command = ["squeue", "--me", "--noheader", "--states=all", "--format=%A %T"]
    answer = subprocess.run(command, capture_output=True, text=True)
    return None if answer.returncode else dict(line.split() for line in answer.stdout.splitlines())
