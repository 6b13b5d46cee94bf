"""`mnistsum evaluate`: tests a trained network on every image of a split, with all ten numbers."""

import json

from mnistsum.app.compiler import set_up_compiler
from mnistsum.app.console import console, score_table
from mnistsum.app.options import Evaluate
from mnistsum.data import load
from mnistsum.errors import InputError
from mnistsum.evaluation import evaluate as answer_all
from mnistsum.evaluation import score
from mnistsum.json_files import finite
from mnistsum.predict import load_pretrained


def evaluate(options: Evaluate) -> int:
    """Evaluate a network and print its scores; return the exit status."""
    set_up_compiler()
    config, model, _ = load_pretrained(options.model, options.config)
    split = getattr(load(config.data), options.split)
    if not len(split.labels):
        raise InputError(f"--split {options.split}: expected images, found none, as data.validation is 0")
    scores = score(answer_all(config.data, model, split), split.labels)
    if options.json:
        print(json.dumps(finite(scores._asdict()), indent=1, allow_nan=False))  # NaN: labels without images
    else:
        console.print(f"{config.name}, seed {config.seed}, on {config.data.name}", markup=False)
        console.print(score_table(options.split, scores))
    return 0
