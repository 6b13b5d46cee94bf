"""How many more validation images are read right where those in doubt are moved: `python -m tests.shifts RUNS...`.

Writes experiments/results/shifts.md. The test set is not read.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
from scipy.special import log_softmax

from experiments import environment
from experiments.report import markdown
from mnistsum import load, load_run
from mnistsum.evaluation import evaluate

DOUBTS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)  # probabilities of the digit below which it is moved
SHIFT = 1  # pixel


def main(folders: list[str]) -> None:
    """Write the table of runs with the same validation images."""
    gains: dict[float, list[float]] = {doubt: [] for doubt in DOUBTS}
    accuracies, losses, moved = ({doubt: [] for doubt in DOUBTS} for _ in range(3))
    for folder in folders:
        config, model = load_run(Path(folder))
        images = load(config.data).validation
        labels = np.asarray(images.labels)
        plain, shifted = (
            log_softmax(_digit_logits(config.data, model, images, shift).astype(float), 1) for shift in (0, SHIFT)
        )
        for doubt in DOUBTS:
            is_doubtful = (np.exp(plain).max(1) < doubt) | (doubt == 1)
            chosen = np.where(is_doubtful[:, None], shifted, plain)
            accuracies[doubt].append(100 * (chosen.argmax(1) == labels).mean())
            gains[doubt].append(accuracies[doubt][-1] - accuracies[0.0][-1])
            losses[doubt].append(-log_softmax(chosen, 1)[np.arange(len(labels)), labels].mean())
            moved[doubt].append(100 * is_doubtful.mean())
    rows = []
    for doubt in DOUBTS:
        gain = f"{np.mean(gains[doubt]):+.3f} ± {np.std(gains[doubt], ddof=1):.3f}"
        means = [f"{np.mean(moved[doubt]):.2f}", f"{np.mean(accuracies[doubt]):.3f}", gain]
        rows.append([f"{doubt:g}", *means, f"{np.mean(losses[doubt]):.4f}"])
    header = ["moved where the digit's probability is below", "moved, %", "right, %", "gain, points", "loss, nats"]
    made = environment.describe("")
    said = (
        f"{len(folders)} runs, {len(labels):,} validation images each, shifts of up to {SHIFT} pixel; digits. Mean "
        "and standard deviation, over runs, of the gain over images as they are; the test set is not read. "
        f"`python -m tests.shifts RUNS...`, {made['hardware']}, jax {made['versions']['jax']}, "
        f"commit {made['commit']}."
    )
    table = f"{said}\n\n{markdown.table(header, rows)}\n"
    (Path(__file__).parent.parent / "experiments" / "results" / "shifts.md").write_text(table)
    print(table)


def _digit_logits(data, model, images, shift):
    return evaluate(dataclasses.replace(data, test_shift=shift, test_doubt=1.0), model, images).digit_logits


if __name__ == "__main__":
    main(sys.argv[1:])
