"""`mnistsum evaluate`: tests a trained network on every image of a split."""

import json
import warnings
from argparse import Namespace

from mnistsum.app.console import console, say, score_table
from mnistsum.config import override
from mnistsum.data import digest, load
from mnistsum.errors import InputError
from mnistsum.evaluation import SCORES, evaluate, score
from mnistsum.file_io import read_json
from mnistsum.programs import set_up_compiler
from mnistsum.storage import load_run, locate

ACCURACIES = ("digit_accuracy", "sum_accuracy")


def run_evaluate(options: Namespace) -> int:
    """Evaluate a network and print its scores; return the exit status.

    A warning says in one line if images or accuracies differ from those that a run
    recorded.
    """
    set_up_compiler()
    path = locate(options.model)
    config, model, _, data, _ = load_run(path, options.config)
    for field in options.fields:
        if not field.startswith("data."):
            raise InputError(
                f"{field}: expected only fields of data; a network's own config holds "
                "for all others"
            )
    config = override(config, options.fields)
    split = getattr(load(config.data), options.split)
    if not len(split.labels):
        raise InputError(
            f"--split {options.split}: expected images, found none, as data.validation "
            "is 0"
        )
    scores = score(evaluate(config.data, model, split), split.labels)
    summary = path / "summary.json"
    recorded = read_json(summary).get(options.split) if summary.exists() else None
    if data and data[options.split] != digest(split):
        warnings.warn(
            f"the {options.split} images are not those that {options.model} recorded",
            stacklevel=2,
        )
    elif recorded and any(recorded[name] != scores[name] for name in ACCURACIES):
        then = ", ".join(
            f"{SCORES[name].title} {recorded[name]:.2%}" for name in ACCURACIES
        )
        warnings.warn(
            f"{options.model} recorded another score of the same images: {then}",
            stacklevel=2,
        )
    if options.json:
        print(json.dumps(scores, indent=1))
    else:
        images = f"{scores['images']:,} images, ten numbers each"
        say(f"{config.name}, seed {config.seed}, on {config.data.source}: {images}")
        console.print(score_table(options.split, scores))
    return 0
