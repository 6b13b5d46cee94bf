"""`mnistsum evaluate`: a trained network on every image of a split, with all ten numbers."""

import json

import numpy as np

from mnistsum.app.compiler import set_up_compiler
from mnistsum.app.console import console, score_table
from mnistsum.app.options import Evaluate
from mnistsum.data import load
from mnistsum.errors import InputError
from mnistsum.evaluation import evaluate as answer_all
from mnistsum.evaluation import score
from mnistsum.predict import load_pretrained


def evaluate(options: Evaluate) -> int:
    """Evaluate a network and print its scores; return the exit status."""
    set_up_compiler()
    config, model, _ = load_pretrained(options.model, options.config)
    split = getattr(load(config.data), options.split)
    if not len(split.labels):
        raise InputError(f"--split {options.split}: expected images, found none, as the network was trained on all")
    scores = score(answer_all(config.data, model, split), split.labels)
    if options.json:
        fields = scores._asdict()
        for name in ("digit_accuracy_by_label", "sum_accuracy_by_cell"):  # JSON knows no NaN, of labels without images
            accuracies = np.array(fields[name], object)
            accuracies[np.isnan(fields[name])] = None
            fields[name] = accuracies.tolist()
        print(json.dumps(fields, indent=1, allow_nan=False))
    else:
        console.print(f"{config.name}, seed {config.seed}, on {config.data.name}", markup=False)
        console.print(score_table(options.split, scores))
    return 0
