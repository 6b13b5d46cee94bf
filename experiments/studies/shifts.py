"""How many more validation images are read correctly if doubtful ones are shifted.

`python -m experiments.studies.shifts RUNS...` writes experiments/results/shifts.md. The test set is not read.
"""

import dataclasses
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy.special import log_softmax

from experiments import environment
from experiments.report import markdown
from mnistsum import load, load_run
from mnistsum.evaluation import evaluate
from mnistsum.files import write_whole

DOUBTS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)  # digit probabilities below which it is shifted
SHIFTS = (1, 2, 3)  # maximum shifts, in pixels


def main(folders: list[str]) -> None:
    """Write the table for runs with the same validation images."""
    if len(folders) < 2:
        sys.exit(f"shifts: expected the folders of two runs or more, found {len(folders)}")
    count = 0
    moved, right, gains, losses = (defaultdict(list) for _ in range(4))
    for folder in folders:
        config, model = load_run(Path(folder))
        images = load(config.data).validation
        labels = np.asarray(images.labels)
        count = len(labels)
        plain, *means = (
            log_softmax(_digit_logits(config.data, model, images, shift).astype(float), 1) for shift in (0, *SHIFTS)
        )
        accuracy = 100 * (plain.argmax(1) == labels).mean()
        for doubt in DOUBTS:
            is_doubtful = (np.exp(plain).max(1) < doubt) | (doubt == 1)
            moved[doubt].append(100 * is_doubtful.mean())
            for shift, mean in zip(SHIFTS, means, strict=True):
                chosen = np.where(is_doubtful[:, None], mean, plain)
                right[doubt, shift].append(100 * (chosen.argmax(1) == labels).mean())
                gains[doubt, shift].append(right[doubt, shift][-1] - accuracy)
                losses[doubt, shift].append(-log_softmax(chosen, 1)[np.arange(len(labels)), labels].mean())
    rows = []
    for doubt in DOUBTS:
        cells = [f"{doubt:g}", f"{np.mean(moved[doubt]):.2f}"]
        for shift in SHIFTS:
            gain = f"{np.mean(gains[doubt, shift]):+.3f} ± {np.std(gains[doubt, shift], ddof=1):.3f}"
            cells += [f"{np.mean(right[doubt, shift]):.3f}", gain, f"{np.mean(losses[doubt, shift]):.4f}"]
        rows.append(cells)
    header = ["moved where the digit's probability is below", "moved, %"]
    header += [f"{shift} px: {what}" for shift in SHIFTS for what in ("right, %", "gain, points", "loss, nats")]
    provenance = environment.describe("python -m experiments.studies.shifts RUNS...")
    caption = (
        f"{len(folders)} runs, {count:,} validation images each, shifts of up to so many pixels (px); digits. "
        "Mean and standard deviation, over runs, of the gain over images as they are; the test set is not read. "
        f"`{provenance['command']}`, {provenance['hardware']}, jax {provenance['versions']['jax']}, "
        f"commit {provenance['commit']}."
    )
    table = f"{caption}\n\n{markdown.table(header, rows)}\n"
    write_whole(Path(__file__).parent.parent / "results" / "shifts.md", table)
    print(table)


def _digit_logits(data, model, images, shift):
    return evaluate(dataclasses.replace(data, test_shift=shift, test_doubt=1.0), model, images).digit_logits


if __name__ == "__main__":
    main(sys.argv[1:])
