"""Comparisons, as a user runs them, and the results of their runs."""

import contextlib
import dataclasses
import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import filelock
import jax
import numpy as np
import pytest
from PIL import Image
from programs import ROOT, UNOPTIMIZED, write_set

import mnistsum
from experiments import cli, environment, run_folder
from experiments import compare as program
from experiments.comparison import figures, tables
from experiments.comparison.grouping import group_by_key, group_runs
from experiments.comparison.options import parse
from experiments.comparison.summary import summarize
from experiments.comparison.tables import notes, number
from experiments.training import record, reuse
from experiments.training.plan import COMPARED, RUN, VALIDATED, next_evaluation, next_watch, plan_for
from experiments.training.seed_run import SeedRun, describe_failure
from mnistsum import registry
from mnistsum.app.compiler import set_up_compiler
from mnistsum.app.console import console
from mnistsum.config import Config, DataConfig, ObjectiveConfig, TrainingConfig
from mnistsum.data import load
from mnistsum.errors import InputError
from mnistsum.evaluation import Scores
from mnistsum.objective import held_out_cells
from mnistsum.statistics import difference
from mnistsum.train import init_state, make_recipe, split_keys
from mnistsum.types import Data, Split

OWN = """
from mnistsum.config import Config, ModelConfig, OptimizerConfig, TrainingConfig
from mnistsum.models.classifiers.mlp import MLP
from rates import CONSTANT  # a module of the user's own

config = Config(name="{name}", model=ModelConfig(classifier="{classifier}", widths=({width},)),
                optimizer=OptimizerConfig(name="sgd", learning_rate={rate}, schedule=CONSTANT),
                training=TrainingConfig(epochs=3.0, batch_size=64))
"""
# SLURM's commands, as far as submitit uses them. `srun` fails job 2 as if it had run out of memory, and `sacct` records
# which program asked it, and in which second.
SLURM = {
    "sbatch": r"""
id=1
until mkdir "$place/job-$id" 2> /dev/null; do id=$((id + 1)); done
export SLURM_JOB_ID=$id SLURM_NTASKS=1 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_PROCID=0 SLURM_JOB_NUM_NODES=1
touch "$place/job-$id/runs"
{ bash "$1"; rm "$place/job-$id/runs"; } > /dev/null 2>&1 &
echo "Submitted batch job $id"
""",
    "srun": r"""
shift  # --unbuffered --output FILE --error FILE COMMAND
output=${2//%j/$SLURM_JOB_ID}
errors=${4//%j/$SLURM_JOB_ID}
exec > "${output//%t/0}" 2> "${errors//%t/0}"
[ $SLURM_JOB_ID = 2 ] && echo "slurmstepd: error: Detected 1 oom_kill event" >&2 && exit 1
exec "${@:5}"
""",
    "sacct": r"""
echo "$PPID $(date +%s)" >> "$place/asked"
echo "JobID|State|NodeList"
while [ $# -gt 0 ]; do
    if [ "$1" = -j ]; then
        [ -e "$place/job-$2/runs" ] && echo "$2|RUNNING|here" || echo "$2|OUT_OF_MEMORY|here"
    fi
    shift
done
""",
}
# A set of random images, in the folder in which the programs run.
DATA = ("data.name=custom", "data.dir=images", "data.validation=64")
OUTSIDE = os.environ | UNOPTIMIZED | {"PYTHONPATH": str(ROOT)}  # the programs run in other folders


def compare(*arguments, cwd) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "experiments.compare", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=200, env=OUTSIDE)


def write_own(folder: Path) -> None:
    (folder / "rates.py").write_text('CONSTANT = "constant"\n')
    (folder / "images").mkdir()
    write_set(folder / "images", train=576, test=64)
    for name, classifier, width, rate in (
        ("narrow", "mlp", 8, 0.02),
        ("wide", "perceptron", 64, 0.02),
        ("wild", "mlp", 8, 1e30),
    ):
        own = OWN.format(name=name, classifier=classifier, width=width, rate=rate)
        (folder / f"{name}.py").write_text(own + ('CLASSIFIERS = {"perceptron": MLP}\n' if name == "wide" else ""))


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Two configs and one that diverges, two seeds each, compared in this process: folder, command, output."""
    folder = tmp_path_factory.mktemp("compare")
    write_own(folder)
    command = ("narrow.py", "wide.py", "wild.py", "--output", "out", "--seeds", "2", *DATA)
    with pytest.MonkeyPatch.context() as patch, console.capture() as captured:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        patch.setattr(registry, "_files", {})
        patch.setenv("XLA_FLAGS", UNOPTIMIZED["XLA_FLAGS"])  # as in the processes that reuse these runs
        assert program.command(list(command)) == 0
    sys.modules.pop("rates")
    return folder, command, captured.get()


def files_of(folder: Path, *names: str) -> Path:
    """Return the folder of the comparison of these configs."""
    (found,) = (folder / "out").glob(f"{'-'.join(names)}-??????")
    return found


def test_a_comparison_writes_its_files_and_says_what_follows(compared):
    folder, _, output = compared
    files = files_of(folder, "narrow", "wide", "wild")
    summary = json.loads((files / "comparison.json").read_text(), parse_constant=pytest.fail)  # on NaN and Infinity
    narrow, wide, wild = summary["rows"]
    assert None in wild["curve"]["sum_loss_mean"]
    assert [row["config"] for row in summary["rows"]] == ["narrow", "wide", "wild"]
    assert wide["against_first"]["digit"]["mean"] == pytest.approx(
        wide["digit_accuracy"]["mean"] - narrow["digit_accuracy"]["mean"], abs=1e-6
    )
    assert wide["digit_accuracy"]["mean"] == pytest.approx(np.mean(wide["digit_accuracy"]["values"]))
    assert wide["parameters"] > narrow["parameters"]
    runs = sorted((folder / "out" / "runs").glob("narrow-*"))
    losses = [[line["validation"]["sum_loss"] for line in run_folder.read(run).lines] for run in runs]
    assert narrow["curve"]["sum_loss_mean"] == pytest.approx(np.mean(losses, 0).tolist())
    assert narrow["curve"]["sum_loss_high"] == np.max(losses, 0).tolist()
    assert set(wild["against_first"]["digit"]) == {"mean", "low", "high", "standard_error", "verdict"}
    for name in ("comparison.md", "comparison.csv", "comparison.html"):
        text = (files / name).read_text()
        assert all(row["config"] in text for row in summary["rows"]), name
    assert (files / "comparison.html").read_text().count('<svg role="img"') == 1 + 4 + 3 + 3  # of three configs
    assert all(Image.open(files / f"{name}.png").width > 500 for name in ("comparison", "losses"))
    assert "Against narrow, points" in output
    for name in ("comparison.md", "comparison.html"):  # they explain their columns
        for column in ("on impossible sums", "s to 98.8 %"):
            assert f"“{column}” is " in (files / name).read_text()


@pytest.mark.slow
def test_tuning_tries_both_neighbors_of_the_best_rate_and_trains_with_that(tmp_path):
    write_own(tmp_path)
    done = compare("narrow.py", "wide.py", "--output", "out", "--seeds", 2, "--tune", *DATA, cwd=tmp_path)
    assert "Learning rates tried" in done.stdout
    summary = json.loads((files_of(tmp_path, "narrow", "wide") / "comparison.json").read_text())
    for name, tuned in summary["tuned"].items():
        rates = [trial["learning_rate"] for trial in tuned["trials"]]
        scores = [trial["digit"] + trial["sum"] for trial in tuned["trials"]]
        best = [trial["taken"] for trial in tuned["trials"]].index(True)
        assert scores[best] == max(scores)
        assert 0 < best < len(rates) - 1 or tuned["at_the_edge"]
        assert 0.02 in rates
        assert all(later == 2 * rate for rate, later in itertools.pairwise(rates))
        for run in (tmp_path / "out" / "runs").glob(f"{name}-*"):
            config = json.loads((run / "config.json").read_text())
            assert config["optimizer"]["learning_rate"] == rates[best]


def test_a_diverged_run_counts_as_failed_and_is_not_dropped(compared):
    folder, _, output = compared
    wild = json.loads((files_of(folder, "narrow", "wide", "wild") / "comparison.json").read_text())["rows"][2]
    assert len(wild["failed"]) == wild["n"] == 2
    assert wild["digit_accuracy"]["of"] == wild["digit_accuracy"]["reached"] == 2
    assert re.search("Failed, and counted in every figure: wild: seed 0: .+; seed 1: .+", output)
    assert re.search(
        r"wild, seed 0: digit [^,]*, sum [^,]*, [\d.]+ s, failed: loss not finite at step \d+", " ".join(output.split())
    )


def test_a_comparison_says_in_what_else_its_configs_differ(compared):
    _, _, output = compared
    unlike = "wild differs from narrow (in brackets) in more than architecture: optimizer.learning_rate=1e+30 (0.02)"
    assert unlike in " ".join(output.split())
    assert "wide differs" not in output


def test_every_run_leaves_a_folder_that_load_run_opens(compared, monkeypatch):
    folder, *_ = compared
    monkeypatch.chdir(folder)
    runs = sorted((folder / "out" / "runs").iterdir())
    assert len(runs) == 6
    for run in runs[:4]:
        assert {path.name for path in run.iterdir()} == {
            *("config.json", "run.json", "metrics.jsonl", "predictions.npz", "summary.json", "weights.safetensors"),
            ".lock",
        }
        config, model = mnistsum.load_run(run)
        digit = mnistsum.evaluate(config.data, model, load(config.data).test).digit
        np.testing.assert_array_equal(digit, run_folder.read(run).predictions["digit"])


@pytest.mark.slow
def test_finished_runs_are_reused_and_a_missing_one_comes_out_the_same(compared):
    folder, command, _ = compared
    runs = sorted((folder / "out" / "runs").iterdir())
    before = run_folder.read(runs[0])
    shutil.rmtree(runs[0])  # as if it had been interrupted: a run's folder appears at its end
    stale_folder = runs[0].with_name(f".{runs[0].name}-{32 * '0'}")  # and as a killed process leaves it
    stale_folder.mkdir()
    (stale_folder / run_folder.LOCK).touch()
    again = compare(*command, cwd=folder)
    assert again.stdout.count("(reused)") == 5
    after = run_folder.read(runs[0])
    for key in ("weights", "test", "validation", "learned"):
        assert after.summary[key] == before.summary[key]
    assert not stale_folder.exists()


def test_finished_runs_are_compared_without_training_and_no_other_comparison_is_overwritten(
    compared, run_program, monkeypatch
):
    folder, *_ = compared
    monkeypatch.chdir(folder)
    whole = files_of(folder, "narrow", "wide", "wild")
    before = (whole / "comparison.json").read_bytes()
    runs = [f"out/runs/{path.name}" for name in ("narrow", "wide") for path in (folder / "out/runs").glob(f"{name}-*")]
    assert len(runs) == 4
    # This process does not know their networks before the user names the file that defines them.
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(registry, "_files", {})
    monkeypatch.setattr(registry.CLASSIFIERS, "_added", {})
    status, stderr = run_program(program.command, *runs)
    assert status == 2
    assert "found perceptron; if it is your own, give the file that defines it, too: --config FILE.py" in stderr
    with console.capture() as captured:
        assert program.command([*runs, "wide.py", "--output", "out"]) == 0
    sys.modules.pop("rates")
    assert "the runs differ in" not in captured.get()
    status, stderr = run_program(program.command, *runs, "--output", runs[0])
    assert status == 2
    assert f"--output {runs[0]}: a run's folder; name another" in stderr
    assert (whole / "comparison.json").read_bytes() == before
    rows = json.loads((files_of(folder, "narrow", "wide") / "comparison.json").read_text())["rows"]
    (wide,) = (row for row in json.loads(before)["rows"] if row["config"] == "wide")
    alone = rows[1]["against_first"]["digit"]
    assert alone["mean"] == pytest.approx(wide["against_first"]["digit"]["mean"])
    assert alone["high"] < wide["against_first"]["digit"]["high"]  # one contrast for two


@pytest.fixture
def locate_runs(compared, tmp_path, monkeypatch):
    """A function that returns a config's runs, as if nothing had been loaded in this process."""
    folder, *_ = compared
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XLA_FLAGS", UNOPTIMIZED["XLA_FLAGS"])
    set_up_compiler()

    def locate(name: str, data: Data | None = None) -> reuse.RunSet:
        monkeypatch.setattr(registry, "_files", {})
        for module in ("rates", "nets"):
            sys.modules.pop(module, None)
        record._read_source.cache_clear()
        record._files_of.cache_clear()
        config = cli.override(cli.load_config(f"{name}.py"), list(DATA))
        run_record = record.make_record(config, data or load(config.data), Path(f"{name}.py"))
        return reuse.locate_runs(Path("out/runs"), config, run_record, range(2))

    yield locate
    for module in ("rates", "nets"):
        sys.modules.pop(module, None)


def test_what_is_the_same_is_reused(locate_runs):
    assert not reuse.missing(locate_runs("narrow"))


def test_a_comment_retrains_nothing_and_an_edited_file_its_own_config_alone(locate_runs):
    with Path("narrow.py").open("a") as file:
        file.write("# no code\n")
    assert not reuse.missing(locate_runs("narrow"))
    with Path("narrow.py").open("a") as file:
        file.write("WARMED = True\n")
    reason = r"out/runs/narrow-\w{12}-0, its newest run, differs: narrow.py has changed"
    assert re.fullmatch(reason, reuse.why_missing(locate_runs("narrow")))
    assert not reuse.missing(locate_runs("wide"))


def test_a_run_of_a_network_that_is_no_longer_there_explains_nothing_and_stops_nothing(locate_runs):
    with Path("narrow.py").open("a") as file:
        file.write("WARMED = True\n")
    run_set = locate_runs("narrow")
    (newest,) = run_set.folders[0].parent.glob("narrow-????????????-0")
    config = newest / "config.json"
    config.write_text(config.read_text().replace('"mlp"', '"renamed"'))
    assert "-0, its newest run, cannot be read: " in reuse.why_missing(run_set)


def test_an_edited_module_of_the_users_own_retrains_what_imports_it(locate_runs):
    with Path("rates.py").open("a") as file:
        file.write("WARMED = True\n")
    for name in ("narrow", "wide"):
        assert reuse.missing(locate_runs(name)) == [0, 1]
        assert reuse.why_missing(locate_runs(name)).endswith("differs: rates.py has changed")


@pytest.mark.parametrize("edited", ["own.py", "parts/deep/blocks.py", "parts/deep/side.py", "others/blocks.py"])
def test_code_in_folders_without_an_init_file_decides_a_run_too(tmp_path, monkeypatch, edited):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "dist-packages")
    files = {
        "own.py": "import tool\nimport others.blocks\nfrom parts.deep.blocks import WIDTH\n",
        "parts/deep/blocks.py": "from . import side\nWIDTH = 8\n",
        "parts/deep/side.py": "RATE = 0.1\n",
        "others/blocks.py": "DEPTH = 2\n",
        "dist-packages/tool.py": "",  # of an installed package
        "parts/deep/blocks/WIDTH.py": "",  # never imported, as blocks.py is in its way
    }
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)

    def sources():
        record._read_source.cache_clear()
        record._files_of.cache_clear()
        return record.make_record(Config(), Data(*[Split(np.zeros(0), np.zeros(0))] * 3), tmp_path / "own.py")[
            "sources"
        ]

    before = sources()
    assert not before.keys() & {"WIDTH.py", "tool.py"}
    (tmp_path / edited).write_text(files[edited] + "MORE = 1\n")
    changed = {name for name, code in sources().items() if before[name] != code}
    assert changed == {Path(edited).name}


def test_an_edit_of_the_library_retrains_and_one_of_a_report_does_not(locate_runs, monkeypatch):
    changed = locate_runs("narrow").record
    assert "mnistsum.optimizer" in changed["sources"]
    assert not {name for name in changed["sources"] if "report" in name or "figures" in name or "comparison" in name}
    read = record._read_source
    edited = ROOT / "mnistsum" / "optimizer.py"
    monkeypatch.setattr(
        record, "_read_source", lambda file: ("edited", read(file)[1]) if file == edited else read(file)
    )
    monkeypatch.setattr(record._read_source, "cache_clear", lambda: None, raising=False)
    assert reuse.why_missing(locate_runs("narrow")).endswith("differs: mnistsum.optimizer has changed")
    monkeypatch.undo()


def test_another_version_retrains_and_is_named(locate_runs, monkeypatch):
    found = environment.version
    monkeypatch.setattr(environment, "version", lambda name: "0.1" if name == "optax" else found(name))
    run_set = locate_runs("narrow")
    assert reuse.missing(run_set) == [0, 1]
    assert reuse.why_missing(run_set).endswith(f"differs: optax was {found('optax')}, is 0.1")


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("jax_default_prng_impl", "rbg", "prng was threefry2x32, is rbg"),
        ("jax_threefry_partitionable", False, "threefry_partitionable was True, is False"),
        ("jax_enable_x64", True, "enable_x64 was False, is True"),
        ("jax_default_matmul_precision", "float32", "matmul_precision was default, is float32"),
    ],
)
def test_another_setting_of_jax_retrains(locate_runs, setting, value, reason):
    before = jax.config.values[setting]
    try:
        jax.config.update(setting, value)
        assert reuse.why_missing(locate_runs("narrow")).endswith(f"differs: {reason}")
    finally:
        jax.config.update(setting, before)


def test_another_xla_flag_retrains_and_virtual_devices_do_not(locate_runs, monkeypatch):
    flags = os.environ["XLA_FLAGS"]
    monkeypatch.setenv("XLA_FLAGS", f"--xla_force_host_platform_device_count=3 {flags}")
    assert not reuse.missing(locate_runs("narrow"))
    monkeypatch.setenv("XLA_FLAGS", f"--xla_cpu_enable_fast_math=true {flags}")
    assert re.search(
        r"differs: xla_flags was .*, is .*--xla_cpu_enable_fast_math=true", reuse.why_missing(locate_runs("narrow"))
    )


def test_other_images_under_the_same_name_retrain(locate_runs):
    data = load(DataConfig(name="custom", dir="images", validation=64))
    noise = data._replace(train=data.train._replace(images=data.train.images[::-1].copy()))
    assert reuse.why_missing(locate_runs("narrow", noise)).endswith("differs: the train split has changed")


def test_a_run_that_is_not_what_its_name_says_is_refused(locate_runs):
    run_set = locate_runs("narrow")
    folder = run_set.folders[0]
    harmed = json.loads((folder / "run.json").read_text())
    harmed["data"]["test"] = "0"
    (folder / "run.json").write_text(json.dumps(harmed))
    run_folder.write_summary(folder, run_folder.read_json(folder / "summary.json") | {"sha256": None})  # as if so made
    with pytest.raises(InputError, match=r"not the run that its name says \(the test split has changed\); delete it"):
        reuse.read(run_set, 0)


def test_a_folder_that_a_program_trains_in_is_not_cleared_away(tmp_path):
    names = [f".narrow-0123456789ab-{i}-{32 * 'c'}" for i in range(2)]
    folders = [tmp_path / name for name in (*names, ".venv")]  # the last one is another program's
    for folder in folders:
        folder.mkdir()
        (folder / ".lock").touch()
    with filelock.FileLock(folders[0] / ".lock"):
        reuse._remove_stale_folders(tmp_path)
        assert [folder.exists() for folder in folders] == [True, False, True]


def test_on_accelerators_all_seeds_that_the_devices_share_evenly_are_one_program(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    assert reuse._groups(list(range(10))) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert reuse._groups(list(range(10))) == [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9]]


def test_a_job_on_a_machine_of_another_kind_says_so(locate_runs, tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason="an extra of the project")
    from experiments.comparison.contestants import Contestant
    from experiments.comparison.jobs import JobSpec, run_job

    run_set = locate_runs("narrow")
    record = run_set.record | {"settings": run_set.record["settings"] | {"backend": "gpu"}}
    elsewhere = reuse.locate_runs(tmp_path / "elsewhere", run_set.config, record, [0])
    contestant = Contestant(run_set.config, Path("narrow.py"), False, tmp_path, "a test")
    with pytest.raises(InputError, match=r"not the run that was asked for: backend was gpu, is cpu; submit from"):
        run_job(JobSpec(contestant, elsewhere.folders, record, (Path("narrow.py"),)))


def test_a_search_and_a_comparison_do_not_take_each_others_runs(locate_runs):
    run_set = locate_runs("narrow")
    reuse.check(run_set, COMPARED)
    with pytest.raises(
        InputError, match=rf"{run_set.folders[0]}: holds a tested run of a comparison; use another --runs"
    ):
        reuse.check(run_set, VALIDATED)
    (run_set.folders[1] / "summary.json").write_text("{}")
    with pytest.raises(
        InputError, match=rf"{run_set.folders[1]}: holds an untested run of a search; use another --output"
    ):
        reuse.check(run_set, COMPARED)


def test_a_tuned_run_that_began_at_another_rate_is_named(locate_runs):
    run_set = locate_runs("narrow")
    run = run_folder.read_json(run_set.folders[0] / "run.json")
    for run_record in (run, run_set.record):
        run_record["settings"] |= {"tuned": "by halves"}
    (run_set.folders[0] / "run.json").write_text(json.dumps(run))
    config = dataclasses.replace(
        run_set.config, optimizer=dataclasses.replace(run_set.config.optimizer, learning_rate=0.5)
    )
    other = reuse.locate_runs(run_set.folders[0].parent, config, run_set.record, [0])
    assert reuse.why_missing(other).endswith("differs: tuning began at another learning rate")


NET = """
import jax.numpy as jnp
from flax import nnx
from mnistsum import Config, ModelConfig
from mnistsum.models.layers import Conv

class Net(nnx.Module):
    def __init__(self, config, rngs):
        self.features = 10
        self.output = nnx.Linear(784, 10, rngs=rngs)

    def __call__(self, image):
        digit = self.output(image.reshape(image.shape[0], 784))
        return {returned}

CLASSIFIERS = {{"net": Net}}
config = Config(name="net", model=ModelConfig(classifier="net"))
"""


REFUSED = "compare: net with concat cannot be compared: "


@pytest.mark.parametrize(
    ("returned", "answer"),
    [
        ("digit[:, :9], digit", r"Net, features: expected \[n, 10\] of n images, found \[n, 9\]"),
        ("digit, digit[:, :9]", r"Net, digit logits: expected \[n, 10\] of n images, found \[n, 9\]"),
        ("digit, digit - digit.mean(0, keepdims=True)", f"{REFUSED}check_padding: .* depends on the other examples"),
        (
            "digit, digit + jnp.arange(len(digit))[:, None] * jnp.arange(10)[None]",
            f"{REFUSED}check_permutation: .* depends on an example",
        ),
        ("digit, digit @ jnp.ones(3)", r".*/net.py, line \d+: dot_general requires contracting dimensions"),
        ("digit, Conv(ModelConfig(), 3, 4, 3, nnx.Rngs(0))(image)", r".*/net.py, line \d+: Conv: expected \[3, height"),
    ],
)
def test_a_network_that_breaks_the_contract_is_refused_before_anything_is_trained(
    monkeypatch, tmp_path, returned, answer
):
    monkeypatch.setattr(registry.CLASSIFIERS, "_added", {})
    monkeypatch.setattr(registry, "_files", {})
    (tmp_path / "net.py").write_text(NET.format(returned=returned))
    with pytest.raises(InputError, match=f"^{answer}") as refusal:
        program.command([str(tmp_path / "net.py"), "smoke", "--output", str(tmp_path / "out")])
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_refuses_what_a_comparison_would(monkeypatch, tmp_path):
    monkeypatch.setattr(registry.CLASSIFIERS, "_added", {})
    monkeypatch.setattr(registry, "_files", {})
    (tmp_path / "net.py").write_text(NET.format(returned="digit, digit @ jnp.ones(3)"))
    with pytest.raises(InputError, match=r"net.py, line \d+: dot_general"):
        program.command([str(tmp_path / "net.py"), "smoke", "--dry-run"])


@pytest.mark.slow
def test_jobs_train_what_a_program_would_and_a_killed_one_is_named_and_retried(compared, tmp_path):
    pytest.importorskip("submitit", reason="an extra of the project")
    folder, command, _ = compared
    write_own(tmp_path)
    command = (*command, "--submit", "local", "--seeds-per-job", 1)
    arguments = [sys.executable, "-m", "experiments.compare", *map(str, command)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    both = [subprocess.Popen(arguments, cwd=tmp_path, env=OUTSIDE, text=True, **pipes) for _ in range(2)]
    kill_task(tmp_path / "out" / "jobs" / "local", "wide-*-1")
    for process in both:  # the two share the jobs
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 1, output + errors
        assert "wide, seeds [1]: it was killed; see" in output
        assert errors == "error: 1 of 6 jobs ended without results; --retry-failed submits them again\n"
    runs = tmp_path / "out" / "runs"
    assert len(list(runs.iterdir())) == 5
    assert len(list((tmp_path / "out" / "jobs" / "local" / "logs").glob("*_submitted.pkl"))) == 6
    again = compare(*command, cwd=tmp_path)
    assert again.returncode == 1
    assert again.stdout.count("(reused)") == 5
    retried = compare(*command, "--retry-failed", cwd=tmp_path)
    assert retried.returncode == 0, retried.stderr
    for run in sorted((folder / "out" / "runs").iterdir()):
        jobs, alone = (run_folder.read(place / run.name).summary for place in (runs, run.parent))
        assert jobs["weights"] == alone["weights"]
    (one,) = runs.glob("narrow-*-1")
    shutil.rmtree(one)
    halved = compare(*command[:-1], 2, cwd=tmp_path)  # its other seed is of the same job
    assert halved.returncode == 0, halved.stderr
    assert halved.stdout.count("(reused)") == 5


@pytest.mark.slow
def test_jobs_of_slurm_are_waited_for_named_and_retried(monkeypatch, tmp_path):
    pytest.importorskip("submitit", reason="an extra of the project")
    write_own(tmp_path)
    place = tmp_path / "slurm"
    place.mkdir()
    for name, text in SLURM.items():
        (place / name).write_text(f'#!/bin/bash\nplace=$(dirname "$0")\n{text}')
        (place / name).chmod(0o755)
    monkeypatch.setitem(OUTSIDE, "PATH", f"{place}:{os.environ['PATH']}")
    configs = ("narrow.py", "wide.py", "--output", "out", "--seeds", 2, *DATA)
    arguments = (*configs, "--submit", "slurm", "--seeds-per-job", 1)
    with ThreadPoolExecutor() as programs:
        both = list(programs.map(lambda _: compare(*arguments, cwd=tmp_path), range(2)))
    for run in both:  # the two share the jobs
        assert run.returncode == 1, run.stdout + run.stderr
        assert ": OUT_OF_MEMORY (slurmstepd: error: Detected 1 oom_kill event); see" in run.stdout
        assert run.stderr == "error: 1 of 4 jobs ended without results; --retry-failed submits them again\n"
    asked = [tuple(map(int, line.split())) for line in (place / "asked").read_text().splitlines()]
    for program_id in {program_id for program_id, _ in asked}:
        seconds = [second for by, second in asked if by == program_id]
        assert len(set(seconds)) == len(seconds)  # of all jobs at once, not of each in turn
    retried = compare(*arguments, "--retry-failed", cwd=tmp_path)
    assert retried.returncode == 0, retried.stdout + retried.stderr
    assert retried.stdout.count("(reused)") == 3
    assert len(list(place.glob("job-*"))) == 5


@pytest.mark.slow
def test_a_job_finds_what_another_config_s_file_defines_and_tunes_for_all_its_seeds(tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason="an extra of the project")
    monkeypatch.setitem(OUTSIDE, "JAX_PLATFORMS", "cuda")  # local jobs see only the CPU
    write_own(tmp_path)
    variant = "smoke+model.classifier=perceptron+model.widths=4"
    arguments = ("wide.py", variant, "--output", "out", "--seeds", 11, "--tune", *DATA)
    run = compare(*arguments, "--submit", "local", cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "jobs: 2, finished 0;" in run.stdout


@pytest.mark.slow
def test_an_interrupted_comparison_says_how_it_goes_on(tmp_path):
    write_own(tmp_path)
    command = ("narrow.py", "wide.py", "--output", "out", "--seeds", "9", *DATA)
    line = [sys.executable, "-u", "-m", "experiments.compare", *command]
    process = subprocess.Popen(line, cwd=tmp_path, env=OUTSIDE, text=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("narrow, seed 0:"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 130
    assert output.splitlines()[-1] == "stopped; the same command goes on with the runs that are not finished"


def kill_task(jobs: Path, name: str) -> None:
    """Kill a job's training process as soon as there is one."""
    pid, end = "", time.monotonic() + 100
    while not pid:
        assert time.monotonic() < end, "no job trains"
        records = [path.read_text() for path in jobs.glob(name)]
        controller = Path(f"/proc/{records[0]}") if records and records[0] else None
        if controller and (controller / "task" / records[0] / "children").exists():
            pid = (controller / "task" / records[0] / "children").read_text().strip()
    os.kill(int(pid), signal.SIGKILL)


@pytest.mark.slow
def test_a_dry_run_says_what_is_missing_and_writes_nothing(compared):
    folder, command, _ = compared
    before = sorted(folder.rglob("*"))
    run = compare(*command, "--dry-run", "--seeds", 3, cwd=folder)
    assert run.returncode == 0, run.stderr
    rows = [line.split() for line in run.stdout.splitlines()]
    assert [row[:3] for row in rows[1:5]] == [[name, "3", "2"] for name in ("narrow", "wide", "wild")] + [
        ["all", "9", "6"]
    ]
    assert float(rows[4][-1]) == pytest.approx(sum(float(row[-1]) for row in rows[1:4]), abs=0.2)  # MB
    assert "one pass per image" not in run.stdout
    all_shifted = compare(*command, "--dry-run", "data.test_shift=1", cwd=folder)
    assert all_shifted.returncode == 0, all_shifted.stderr
    assert "one pass per image" not in all_shifted.stdout  # they are timed with their shifts
    some_shifted = compare(*command, "--dry-run", "data.test_shift=1", "data.test_doubt=0.9", cwd=folder)
    assert "uncertain and take 10;" in some_shifted.stdout
    assert sorted(folder.rglob("*")) == before


@pytest.mark.slow
def test_seeds_that_share_a_program_over_devices_end_as_they_do_alone(compared, tmp_path, monkeypatch):
    folder, command, _ = compared
    write_own(tmp_path)
    monkeypatch.setitem(OUTSIDE, "XLA_FLAGS", f"{UNOPTIMIZED['XLA_FLAGS']} --xla_force_host_platform_device_count=2")
    assert compare(*command, cwd=tmp_path).returncode == 0
    for run in sorted((folder / "out" / "runs").iterdir()):
        alone, together = (run_folder.read(place / "out" / "runs" / run.name).summary for place in (folder, tmp_path))
        assert alone["mode"] == "seeds one by one"
        assert together["mode"] == "2 seeds as one vmapped program, on 2 devices"
        if run.name.startswith("wild"):
            assert together["failure"] == alone["failure"]  # at the same step
        for accuracy in ("digit_accuracy", "sum_accuracy"):
            assert together["test"][accuracy] == pytest.approx(alone["test"][accuracy], abs=0.005)


def test_predictions_with_other_content_are_refused_even_if_their_digests_match(compared, tmp_path):
    folder, *_ = compared
    run = shutil.copytree(sorted((folder / "out" / "runs").iterdir())[1], tmp_path / "run")
    objects = io.BytesIO()
    np.savez(objects, digit=np.array([{}], object), sum=np.zeros((1, 10)))
    for content, reason in ((objects.getvalue(), "Object arrays cannot be loaded"), (b"", "No data left in file")):
        (run / "predictions.npz").write_bytes(content)
        run_folder.write_summary(run, run_folder.read_json(run / "summary.json") | {"sha256": None})
        with pytest.raises(InputError, match=f"predictions.npz: expected predictions, found other content: {reason}"):
            run_folder.read(run)


def means_the_same(one: bytes, other: bytes) -> bool:
    """Return whether two texts are equal as JSON, as when the last digit of a float changes nothing."""
    with contextlib.suppress(ValueError):
        return json.loads(one) == json.loads(other)
    return False


def test_no_flipped_bit_of_a_finished_run_is_silent(compared, tmp_path):
    folder, *_ = compared
    run = shutil.copytree(sorted((folder / "out" / "runs").iterdir())[1], tmp_path / "run")
    random = np.random.default_rng(0)
    for path in sorted(run.glob("[!.]*")):
        whole = path.read_bytes()
        for _ in range(50):
            harmed = bytearray(whole)
            harmed[random.integers(len(whole))] ^= 1 << random.integers(8)
            if path.name == "summary.json" and means_the_same(whole, harmed):
                continue
            path.write_bytes(harmed)
            with pytest.raises(InputError, match=f"{path}: .*; a damaged run: delete its folder") as refusal:
                run_folder.read(run)
            assert "\n" not in str(refusal.value)
        path.write_bytes(whole)
    run_folder.read(run)
    for name in ("metrics.jsonl", "predictions.npz"):
        (run / name).rename(run / "elsewhere")
        with pytest.raises(InputError, match=f"{name}: missing, from a run that was published without it, or"):
            run_folder.read(run)
        (run / "elsewhere").rename(run / name)


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["base", "lenet"], "did you mean lenet5?"),
        (["base", "runs/b-*"], "expected no name of a config and no option but --output beside folders"),
        (["runs/a-*", "runs/b-*"], "runs/a-*/summary.json: no such file; expected the folder of a finished run"),
        (["base", "mlp", "--seeds", "1"], "--seeds: expected 2 to 1,000, as one run shows no spread, found 1"),
        (["base"], "expected two configs or more of different names, found base"),
        (["base", "base"], "expected two configs or more of different names, found base, base"),
        (
            ["base", "reference"],
            "compare: expected the same data.validation in all configs, found 5000 in base and 0 in reference; an "
            "override such as data.validation=5000 applies",
        ),
        (["base", "mlp", "data.validation=0"], "expected validation images"),
        (["base", "best"], "an override such as data.validation=5000 applies to every config"),
        (["base", "mlp", "seed=3"], "compare: expected no seed"),
        (["base", "mlp", "devices=2"], "compare: expected no devices"),
        (["base", "mlp", "--retry-failed"], "--retry-failed: expected only with --submit"),
        (["base", "mlp", "--seeds-per-job", "2"], "--seeds-per-job: expected only with --submit"),
        (
            ["base", "mlp", "--seeds-per-job", "2", "--tune", "--submit", "local", "data.validation=0"],
            "--seeds-per-job: expected only without --tune",
        ),
        (["base", "mlp", "training.epoch=1"], "training.epochs"),
        (["base", "mlp", "model.classifier=conv"], "model.classifier: expected one of reference, compact"),
    ],
)
def test_a_mistake_is_answered_in_words_with_status_2_and_nothing_written(
    run_program, tmp_path, monkeypatch, arguments, answer
):
    monkeypatch.chdir(tmp_path)
    status, stderr = run_program(program.command, *arguments)
    assert status == 2
    assert answer in stderr
    assert not list(tmp_path.iterdir())


def test_checks_whether_an_output_is_learned_become_less_and_less_frequent():
    recipe = make_recipe(Config(), 55_000)  # of 3,432 steps of 128 examples
    checks = [0]
    while checks[-1] < recipe.steps:
        checks.append(next_watch(checks[-1], recipe))
    assert checks[:33] == list(range(0, 129, 4))
    assert checks[33:35] == [136, 144]
    assert (np.diff(checks)[32:] <= np.array(checks)[32:-1] / 16).all()
    assert len(checks) < 120
    for check, after in itertools.pairwise(checks):  # no matter where else a run stops
        assert {next_watch(step, recipe) for step in range(check, after)} == {after}


@pytest.mark.parametrize("plan", [RUN, COMPARED, dataclasses.replace(COMPARED, max_evaluations=None)])
@pytest.mark.parametrize(("per_epoch", "epochs"), [(1, 1), (1, 20), (2, 5), (3, 40), (7, 0.5), (7, 3), (429, 8)])
def test_a_run_is_evaluated_at_the_ends_of_its_epochs_and_never_twice_at_a_step(plan, per_epoch, epochs):
    steps = max(1, round(epochs * per_epoch))
    recipe = dataclasses.replace(make_recipe(Config(), 55_000), steps_per_epoch=per_epoch, steps=steps)
    at = [0]
    while at[-1] < steps:
        at.append(next_evaluation(at[-1], plan, recipe))
        assert at[-1] > at[-2]
    assert at[-1] == steps
    assert len(at) - 1 <= min(plan.evaluations * epochs + 1, plan.max_evaluations or steps, steps)
    if plan.max_evaluations is None:
        assert set(range(per_epoch, steps + 1, per_epoch)) <= set(at)


def test_runs_that_are_judged_by_their_epochs_have_no_limit_of_evaluations():
    patient = Config(training=TrainingConfig(patience=3))
    assert plan_for(patient, COMPARED) == dataclasses.replace(COMPARED, max_evaluations=None)
    assert plan_for(Config(), COMPARED) == COMPARED


def test_whether_an_output_is_learned_is_checked_on_images_as_they_are(tmp_path):
    network = mnistsum.load_pretrained("base")
    everywhere = DataConfig(test_shift=14)  # answers over all shifts, most of which show little of a digit
    config = dataclasses.replace(network.config, data=everywhere)
    recipe = make_recipe(config, 55_000)
    run_folder.write_lines(tmp_path, [])
    run = SeedRun(config, recipe, tmp_path, None)
    run.store_state(init_state(recipe, split_keys(0), network.model), COMPARED)
    run.watch(Split(*(part[:100] for part in load(everywhere).validation)))
    assert run.learned == {"digit": 0, "sum": 0}


def a_run(name, seed, digit, total, labels, weights, **fields) -> run_folder.Finished:
    """Return a finished run with these predictions."""
    accuracies = {"digit_accuracy": (digit == labels).mean()}
    accuracies["sum_accuracy"] = (total == labels[:, None] + np.arange(10)).mean()
    test = dict.fromkeys(("consistency", "impossible"), 1.0) | accuracies
    summary = {
        "parameters": 1,
        "multiply_adds": 1,
        "steps": 1,
        "train_seconds": 1.0,
        "failure": None,
        "mode": "",
        "learned": None,
        "permutation": None,
        "weights": weights,
        "test": test | {"sum_accuracy_by_cell": np.ones((10, 10)).tolist()},
    }
    validation = accuracies | {"digit_loss": 0.1, "sum_loss": 0.2}
    line = {"epoch": 1, "validation": validation, "clock": {"train_seconds": 1.0}}
    config = Config(name=name, seed=seed, **fields)
    run = {"data": {"test": "0"}}
    return run_folder.Finished(Path(f"{name}-{seed}"), config, run, [line], summary, {"digit": digit, "sum": total})


LOSSES = ("digit_loss", "sum_loss")
SUMS_ALONE = ObjectiveConfig(digit_weight=0.0)
LABELS = np.arange(100) % 10
SUMS = LABELS[:, None] + np.arange(10)


def test_errors_are_attributed_and_alarms_raised():
    digit, total = LABELS.copy(), SUMS.copy()
    digit[0], total[0] = 1, 1 + np.arange(10)  # misread, and the sums follow it: 10 pairs
    total[1, 3] = 18  # the digit is right, the sum is not: 1 pair
    digit[2] = 0  # misread, but the sums are right: 10 pairs
    runs = {name: [a_run(name, seed, digit, total, LABELS, "same") for seed in range(2)] for name in ("a", "b")}
    runs["b"][1] = a_run("b", 1, (LABELS + (np.arange(100) < 5)) % 10, total, LABELS, "other")
    summary = summarize(runs, LABELS)
    errors = summary["rows"][0]["errors"]
    assert errors == pytest.approx({"digit_misread": 0.01, "adder_wrong": 0.001, "right_by_luck": 0.01})
    assert [alarm.split(":")[0] for alarm in summary["alarms"]] == ["a", "b"]
    assert "same weights" in summary["alarms"][0]
    assert "digit accuracy differs by more than a point" in summary["alarms"][1]
    for config_runs in runs.values():  # without training on digits' labels, digits may be anything
        config_runs[:] = [
            run._replace(config=dataclasses.replace(run.config, objective=SUMS_ALONE)) for run in config_runs
        ]
    assert len(summarize(runs, LABELS)["alarms"]) == 1


def test_curves_that_end_with_the_first_seed_to_stop_are_noted():
    runs = {"a": finished("a", (0, 1)), "b": finished("b", (0, 1))}
    longer = runs["b"][1]
    runs["b"][1] = longer._replace(lines=[*longer.lines, longer.lines[0] | {"epoch": 2.5}])
    summary = summarize(runs, LABELS) | {"tuned": {}, "notes": []}
    _few_seeds, cut = notes(summary)
    assert cut == "b: the curves end at epoch 1, the last that all its seeds reached; the longest run ended at 2.5"


def test_names_are_printed_as_they_are():
    name = "base+dir=/data/[v1]"
    summary = summarize({name: finished("a", (0, 1)), "b": finished("b", (0, 1))}, LABELS)
    with console.capture() as captured:
        tables.show(summary | {"tuned": {}, "notes": []})
    assert captured.get().count("/data/[v1]") == 4  # three rows, and the title of the second table


def test_a_folder_does_not_hide_the_config_of_its_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").touch()
    assert [config.name for config in parse(["base", "mlp"])[1]] == ["base", "mlp"]
    assert parse(["./base", "./other"])[1] == []


def test_a_failed_seed_is_named_and_keeps_its_config_from_being_called_no_worse():
    first, other = finished("a", (0, 1)), finished("b", (0, 1))
    assert summarize({"a": first, "b": other}, LABELS)["rows"][1]["against_first"]["digit"]["verdict"] != "undecided"
    other[1].summary["failure"] = "loss not finite at step 3"
    row = summarize({"a": first, "b": other}, LABELS)["rows"][1]
    assert row["failed"] == ["seed 1: loss not finite at step 3"]
    assert row["against_first"]["digit"]["verdict"] == "undecided"


def test_what_is_measured_of_a_run_by_hand():
    renaming = np.array([1, 2, 0, 4, 5, 6, 7, 8, 9, 3])  # nowhere its own inverse
    runs = [
        a_run("a", seed, renaming[LABELS], SUMS, LABELS, str(seed), objective=ObjectiveConfig(held_out=3))
        for seed in (0, 1)
    ]
    cells = np.where(held_out_cells(ObjectiveConfig(held_out=3)), 0.25, 0.75).tolist()
    for run in runs:
        run.summary["permutation"] = np.argsort(renaming).tolist()  # the label that each predicted digit stands for
        run.summary["test"]["sum_accuracy_by_cell"] = cells
        run.lines[:] = [
            {
                "epoch": epoch,
                "clock": {"train_seconds": 10.0 * epoch},
                "validation": dict.fromkeys(LOSSES, 0.1) | accuracies,
            }
            for epoch, accuracies in (
                (1, {"digit_accuracy": 0.99, "sum_accuracy": 0.98}),
                (2, {"digit_accuracy": 0.99, "sum_accuracy": 0.99}),
                (3, {"digit_accuracy": 0.99, "sum_accuracy": 0.99}),
            )
        ]
    (row,) = summarize({"a": runs}, LABELS)["rows"]
    assert row["digit_accuracy_permuted"]["mean"] == 1.0
    assert row["sum_accuracy_held_out"]["mean"] == pytest.approx(0.25)
    assert row["sum_accuracy_trained_cells"]["mean"] == pytest.approx(0.75)
    assert row["seconds_to_good"]["mean"] == 20.0


def test_every_commit_and_version_of_the_runs_is_reported():
    run = {"commit": "a", "clean": True, "versions": {"jax": "1"}, "hardware": "CPU", "cores": 2}
    others = [run | {"commit": "b", "clean": False}, run | {"cores": 1}, run | {"commit": None, "clean": None}]
    assert environment.trained_with([run]) == {"commit": "a", "jax": "1", "hardware": "CPU", "cores": "2"}
    told = {"commit": "a, b with changes, unknown", "jax": "1", "hardware": "CPU", "cores": "2, 1"}
    assert environment.trained_with([run, *others]) == told


@pytest.mark.parametrize(
    ("learned", "shown"),
    [(None, "-"), ({}, "not reached"), ({"digit": 8}, "not reached"), ({"digit": 8, "sum": 20}, "12")],
)
def test_an_adder_lag_is_shown_where_it_was_looked_for(learned, shown):
    run = a_run("a", 0, LABELS, SUMS, LABELS, "")
    run.summary["learned"] = learned
    (row,) = summarize({"a": [run]}, LABELS)["rows"]
    assert number(row["adder_lag"], ".0f") == shown


@pytest.mark.parametrize(
    ("objective", "digit", "total", "failure"),
    [
        (ObjectiveConfig(), 95, 95, None),
        (ObjectiveConfig(), 95, 89, "sum below 90 %"),
        (ObjectiveConfig(), 80, 85, "digit and sum below 90 %"),
        (SUMS_ALONE, 20, 95, None),
        (ObjectiveConfig(digit_weight=1.0), 95, 10, None),
        (ObjectiveConfig(held_out=5), 95, 50, None),  # right wherever it is trained
    ],
)
def test_a_run_fails_only_in_what_it_is_trained_for(objective, digit, total, failure):
    cells = np.full((10, 10), total / 100)
    if objective.held_out:
        cells = (~held_out_cells(objective)).astype(float)
    cells[3] = np.nan  # a label without images
    unused = dict.fromkeys(Scores._fields, 0.0)
    accuracies = {"digit_accuracy": digit / 100, "sum_accuracy": total / 100}
    scores = Scores(**unused | accuracies | {"sum_accuracy_by_cell": cells.tolist()})
    assert describe_failure(objective, scores) == failure


@pytest.mark.parametrize("others", [1, 2])
def test_intervals_hold_together_over_all_others_and_both_outputs(others):
    random = np.random.default_rng(0)
    runs = {}
    for name in ["first", "second", "third"][: 1 + others]:
        read = [np.where(random.random(100) < 0.1, (LABELS + 1) % 10, LABELS) for _ in range(3)]
        runs[name] = [a_run(name, s, digit, SUMS, LABELS, str(s)) for s, digit in enumerate(read)]
    right = {
        name: np.stack([run.predictions["digit"] == LABELS for run in config_runs])
        for name, config_runs in runs.items()
    }
    found = summarize(runs, LABELS)["rows"][1]["against_first"]["digit"]
    expected = difference(right["first"], right["second"], 2 * others)._asdict()
    assert found == pytest.approx(expected, abs=1e-6)


def finished(name, seeds, **fields) -> list[run_folder.Finished]:
    return [a_run(name, seed, LABELS, SUMS, LABELS, str(seed), **fields) for seed in seeds]


def test_multiply_adds_of_an_answer_count_each_pass():
    runs = finished("a", (0, 1))
    for run, passes in zip(runs, (1.0, 1.5), strict=True):
        run.summary["multiply_adds"] = 100
        run.summary["test"]["passes"] = passes
    assert summarize({"a": runs}, LABELS)["rows"][0]["multiply_adds"] == 125


def test_finished_runs_are_grouped_by_config_and_paired_by_seed():
    runs, notes = group_runs([*finished("b", (2, 0, 1)), *finished("a", (0, 1, 5))])
    assert list(runs) == ["b", "a"]
    assert [[run.config.seed for run in config_runs] for config_runs in runs.values()] == [[0, 1], [0, 1]]
    assert notes == [
        "b: left out, as not every config has them: seeds 2",
        "a: left out, as not every config has them: seeds 5",
    ]
    unit = DataConfig(scaling="unit")
    runs, _ = group_runs([*finished("a", (0, 1)), *finished("a", (0, 1), data=unit)])
    assert list(runs) == ["a+scaling=standard", "a+scaling=unit"]
    begun = [run._replace(run=run.run | {"settings": {"init": "f" * 64}}) for run in finished("a", (0, 1))]
    runs, _ = group_runs([*finished("a", (0, 1)), *begun])
    assert list(runs) == ["a+init=seed", f"a+init={'f' * 12}"]
    begun = [run._replace(run=run.run | {"settings": {"init": "f" * 64}}) for run in finished("b", (0, 1))]
    assert group_runs([*finished("a", (0, 1)), *begun])[1] == [
        "the runs differ in their settings: init; see the run.json of each"
    ]


def test_runs_of_one_config_on_different_images_are_not_one_kind():
    first, second = finished("a", (0, 1))
    other = second._replace(run={"data": {"test": "1"}})
    with pytest.raises(InputError, match="a-0 and a-1: of one config, but of different images"):
        group_by_key([first, other])


def test_the_images_that_curves_are_of_are_named():
    for validation, name in ((5000, "validation"), (0, "test")):
        runs = finished("a", (0, 1), data=DataConfig(validation=validation))
        summary = summarize({"a": runs}, LABELS)
        assert summary["held_out"] == name
        assert figures.curves(summary)[0].axes[0].get_ylabel() == f"{name} accuracy"


def test_a_label_without_images_leaves_the_scale_of_wrong_sums_as_it_is():
    cells = np.full((10, 10), 0.9)
    cells[3] = np.nan
    (figure,) = figures.cells({"rows": [{"config": "a", "cells": cells.tolist()}]})
    assert figure.axes[0].images[0].get_clim() == pytest.approx((0, 10))


def test_a_run_that_ends_between_two_epochs_is_not_called_stopped_early():
    config = Config(training=TrainingConfig(epochs=2.5, keep="best"))
    steps = make_recipe(config, 55_000).steps
    for end, how in ((steps, "ended at"), (429, "stopped early at")):
        summary = {"steps": end, "ended": {"epoch": end / 429, "best": 1.0, "kept": 1.0}}
        assert run_folder.describe_end(config, summary).startswith(how)


def test_curves_are_of_the_epochs_at_which_all_runs_were_evaluated():
    first, second = finished("a", (0, 1))
    (line,) = first.lines
    halves = [
        line | {"epoch": epoch, "validation": line["validation"] | {"sum_loss": epoch}} for epoch in (0.5, 1, 1.5)
    ]
    curve = summarize({"a": [second._replace(lines=halves), first]}, LABELS)["rows"][0]["curve"]
    assert curve["epoch"] == [1]
    assert curve["sum_loss_mean"] == [pytest.approx(0.6)]  # mean of 1 and 0.2


def test_finished_runs_of_other_code_or_versions_are_compared_with_a_note():
    def made_with(runs, sources, **versions):
        return [run._replace(run=run.run | {"sources": sources, "versions": versions}) for run in runs]

    a = made_with(finished("a", (0, 1)), {"train": "1", "a": "1"}, jax="1", python="1")
    b = made_with(finished("b", (0, 1)), {"train": "1", "b": "1"}, jax="1", python="2")
    assert group_runs([*a, *b])[1] == []  # sources of only one, and Python, do not count
    b = made_with(finished("b", (0, 1)), {"train": "2", "b": "1"}, jax="2", python="1")
    assert group_runs([*a, *b])[1] == [
        "the runs differ in their sources: train; see the run.json of each",
        "the runs differ in their versions: jax; see the run.json of each",
    ]


def test_runs_that_differ_in_seed_and_devices_alone_are_of_one_kind():
    config = Config()
    assert record.unequal_fields(config, dataclasses.replace(config, seed=3, devices=1)) == []
    assert record.unequal_fields(config, dataclasses.replace(config, seed=3, name="b")) == ["name"]


def test_finished_runs_that_do_not_fit_together_are_refused():
    for runs, answer in (
        (finished("a", (0, 1)), "expected runs of two configs or more"),
        (
            finished("a", (0, 1)) + finished("b", (1, 2)),
            "in common, found a of seeds 0, 1; b of seeds 1, 2",
        ),
        (finished("a", (0, 0)), "a-0: the same config and seed as a-0"),
        (
            [*finished("a", (0, 1)), *[run._replace(run={"data": {"test": "1"}}) for run in finished("b", (0, 1))]],
            "b-0: not trained and tested on the data of a-0",
        ),
    ):
        with pytest.raises(InputError, match=answer):
            group_runs(runs)
