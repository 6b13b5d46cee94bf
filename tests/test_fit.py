"""The training loop: what a signal leaves, whenever it arrives."""

from programs import first

from experiments.training.fit import Start, fit
from experiments.training.plan import SINGLE
from experiments.training.record import describe_run, prepare


def test_a_signal_during_the_display_saves_a_checkpoint(config, mnist, tmp_path):
    experiment = prepare(config, "a test", first(mnist, 64))
    stops, signals = [], []
    start = Start(describe_run(experiment))
    for stop, _ in fit(experiment, {0: tmp_path}, SINGLE, start, signals):
        stops.append(stop)
        signals.append(15)
    (stop,) = stops
    assert stop.step < experiment.spec.steps
    assert (tmp_path / "checkpoints" / f"{stop.step}.safetensors").exists()
