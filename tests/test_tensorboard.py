"""What TensorBoard would read from a run: each point once."""

import struct

from tensorboardX.proto.event_pb2 import Event

from experiments.report.tensorboard import Log


def values(folder):
    """Return all values with their steps; a record has its length, and checksums."""
    found = []
    for file in (folder / "tensorboard").glob("events.*"):
        content = file.read_bytes()
        place = 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            event = Event.FromString(content[place + 12 : place + 12 + length])
            found += [
                (event.step, event.wall_time, value) for value in event.summary.value
            ]
            place += 12 + length + 4
    return found


def lines(*epochs):
    return [
        {
            "epoch": float(epoch),
            "step": 8 * epoch,
            "train": {"loss": 1 / epoch},
            "clock": {"wall_seconds": 2.0 * epoch},
        }
        | {"validation": {"digit_accuracy": 0.5, "sum_accuracy": 0.25, "images": 10}}
        for epoch in epochs
    ]


STARTED = {"started": "2026-01-02T03:04:05+0000"}


def test_a_log_begun_anew_holds_each_point_once_at_its_time(
    tmp_path,
):
    Log(tmp_path, STARTED, lines(1, 2, 4)).writer.close()
    for file in (tmp_path / "tensorboard").iterdir():
        file.rename(f"{file}.earlier")
    # as in a killed run that resumes after its second epoch
    second = Log(tmp_path, STARTED, lines(1, 2))
    second.add(lines(4)[0])
    second.writer.close()
    points = values(tmp_path)
    found = {(value.tag, step): value.simple_value for step, _, value in points}
    assert found["loss/train", 32] == 0.25
    assert found["sum_accuracy/validation", 8] == 0.25
    # loss, two accuracies and the epoch, but no sizes
    assert len(points) == len(found) == 12
    times = {step: time for step, time, _ in points}
    assert times[16] - times[8] == 2.0
