"""TensorFlow Datasets' own MNIST, prepared from our files, is the packaged MNIST.

Only CI's environment has TensorFlow.
"""

import functools
import http.server
import threading

import pytest
from programs import as_set, finish, start

from mnistsum.config import DataConfig
from mnistsum.data import load
from mnistsum.datasets import MNIST

pytest.importorskip("tensorflow")
# TensorFlow warns of its own use
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def server():
    """Serve the packaged files, and return the address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=MNIST)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_it_is_prepared_holds_the_same_images_and_trains(
    tmp_path, monkeypatch, mnist, server
):
    from tensorflow_datasets.image_classification.mnist import MNIST as Builder

    monkeypatch.setattr(Builder, "URL", server)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = load(DataConfig(name="tfds:mnist", dir=str(tmp_path / "data")))
    expected = as_set(mnist.train, mnist.validation)
    assert as_set(data.train, data.validation) == expected
    assert as_set(data.test) == as_set(mnist.test)
    fields = ["smoke", "data.name=tfds:mnist", f"data.dir={tmp_path / 'data'}"]
    program = start(
        *fields, "--output", tmp_path / "run", XDG_CACHE_HOME=str(tmp_path / "cache")
    )
    assert (
        "tfds:mnist: 55,000 train, 5,000 validation, 10,000 test images"
        in finish(program)[0]
    )


def test_a_server_out_of_reach_is_named_in_one_line(tmp_path, monkeypatch, server):
    from tensorflow_datasets.image_classification.mnist import MNIST as Builder

    monkeypatch.setattr(Builder, "URL", f"{server}nothing/")
    with pytest.raises(
        Exception, match=r"^mnist/3.0.1: cannot be prepared: .*"
    ) as error:
        load(DataConfig(name="tfds:mnist", dir=str(tmp_path)))
    assert "\n" not in str(error.value)
    assert not [*tmp_path.glob("mnist/*/dataset_info.json")]
