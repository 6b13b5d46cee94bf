"""The runs of a comparison as jobs of SLURM, through submitit.

Jobs and programs share only the comparison's folder. Its folder `jobs` holds submitit's
logs, and a file with the ID of each job.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import submitit

from experiments.cli import cores
from experiments.comparison.contestants import (
    Options,
    fit_run_sets,
    prepare_run_sets,
)
from experiments.report.terminal import RunsProgress
from experiments.training.plan import COMPARED
from experiments.training.record import Experiment, differences
from experiments.training.reuse import RunSet
from mnistsum.app.console import say
from mnistsum.config import Config
from mnistsum.errors import InputError, first_line
from mnistsum.file_io import make_folder, write_whole
from mnistsum.registry import load_file, loaded

POLL_SLURM = 1.0  # seconds between looks at the runs' folders and the jobs' states
# states of jobs that go on
UNFINISHED = (
    "PENDING",
    "CONFIGURING",
    "RUNNING",
    "COMPLETING",
    "SUSPENDED",
    "REQUEUED",
)


def train_in_jobs(options: Options, run_sets: Sequence[RunSet]) -> None:
    """Submit a job for each config with missing runs, and wait for all.

    Raise OSError if some end without results.
    """
    folder = options.output / "jobs"
    make_folder(folder)
    executor = _executor(folder / "logs", options.workers)
    waiting = {
        folder / next(iter(each.folders.values())).name: each
        for each in run_sets
        if each.missing()
    }
    for file, run_set in waiting.items():
        _submit(executor, file, run_set.experiment, options)
    say(
        f"jobs: {len(run_sets)}, finished {len(run_sets) - len(waiting)}; logs in "
        f"{executor.folder}"
    )
    failed = _wait_for_jobs(waiting, run_sets)
    states = _slurm_states() or {}
    for file, run_set in failed.items():
        job_id = file.read_text()
        log = executor.folder / f"{job_id}_0_log.err"
        name, state = run_set.experiment.config.name, states.get(job_id, "ended")
        say(f"{name}, seeds {run_set.missing()}: {state}: see {log}")
    if failed:
        raise OSError(
            f"{len(failed)} of {len(run_sets)} jobs ended without results; the same "
            "command submits them again"
        )


def _wait_for_jobs(
    waiting: dict[Path, RunSet], run_sets: Sequence[RunSet]
) -> dict[Path, RunSet]:
    """Show how many runs are finished until all jobs end; return those that failed."""
    failed: dict[Path, RunSet] = {}
    folders = []
    for run_set in run_sets:
        folders += run_set.folders.values()
    missing = [folder for folder in folders if not folder.exists()]
    with RunsProgress(
        dict.fromkeys(missing, 1), len(folders) - len(missing)
    ) as progress:
        while waiting:
            # before their folders are looked at, as they write them last
            ended = _without_live_job(waiting)
            waiting = {
                file: run_set for file, run_set in waiting.items() if run_set.missing()
            }
            failed |= {file: waiting.pop(file) for file in ended & waiting.keys()}
            progress.show({folder: 1 for folder in missing if folder.exists()})
            time.sleep(POLL_SLURM if waiting else 0)
    return failed


def run_job(
    options: Options,
    config: Config,
    command: str,
    record: dict[str, Any],
    files: Sequence[Path],
) -> None:
    """Train the missing runs of a config, within its job.

    Args:
        options: of the comparison.
        config: the config to train.
        command: the command line, for `run.json`.
        record: of what decides the runs.
        files: the users' files that the program has loaded.
    """
    # submitit ignores SIGTERM, so a job that the user cancels would go on, with new
    # workers, until SLURM kills it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for file in files:
        load_file(file)
    (run_set,) = prepare_run_sets(options, [config], command)
    if changed := differences(record, run_set.experiment.record):
        raise InputError(
            f"not the run that was asked for: {'; '.join(changed)}; submit from a "
            "machine of this kind"
        )
    # the cores that SLURM has granted
    workers = min(options.workers, cores())
    fit_run_sets(replace(options, workers=workers), [run_set], COMPARED)


def _executor(logs: Path, workers: int) -> submitit.AutoExecutor:
    """Return what submits jobs, with a time limit of a day.

    The user's SBATCH_ variables may set another.
    """
    try:
        executor = submitit.AutoExecutor(logs, cluster="slurm")
    except RuntimeError as error:  # where there is no SLURM
        raise InputError(f"--submit slurm: {error}") from None
    executor.update_parameters(
        timeout_min=24 * 60,
        slurm_job_name="mnistsum",
        cpus_per_task=int(os.environ.get("SBATCH_CPUS_PER_TASK", workers)),
    )
    return executor


def _submit(
    executor: submitit.AutoExecutor,
    file: Path,
    experiment: Experiment,
    options: Options,
) -> None:
    """Submit a job and write its ID to a file, unless that job has not ended."""
    arguments = (
        options,
        experiment.config,
        experiment.command,
        experiment.record,
        list(loaded),
    )
    try:
        # so that two programs never submit the same job
        with filelock.FileLock(file.with_name("lock")):
            if _without_live_job([file]):
                write_whole(file, executor.submit(run_job, *arguments).job_id)
    except Exception as error:
        raise OSError(f"SLURM did not accept the job: {first_line(error)}") from error


def _without_live_job(files: Iterable[Path]) -> set[Path]:
    """Return those of the jobs' files that name no job that runs or waits to run."""
    ended, ids = set(), {}
    for file in files:
        if file.exists():
            ids[file] = file.read_text()
        else:
            ended.add(file)
    states = _slurm_states()  # after the IDs, as another program may submit jobs now
    for file, job_id in ids.items():
        if states is not None and states.get(job_id) not in UNFINISHED:
            ended.add(file)
    return ended


def _slurm_states() -> dict[str, str] | None:
    """Return the states of the user's jobs by ID; None without an answer.

    Unlike `sacct`, `squeue` works without accounting.
    """
    command = ["squeue", "--me", "--noheader", "--states=all", "--format=%A %T"]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        return None
    return dict(line.split() for line in answer.stdout.splitlines())
