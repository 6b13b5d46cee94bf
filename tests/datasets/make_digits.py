"""Made the data set `digits` beside this file: `python tests/datasets/make_digits.py`.

It holds the first 200 training images and 40 test images of MNIST, in the format of
TensorFlow Datasets. Writing it needs tensorflow-cpu; reading it does not.
"""

from pathlib import Path

import tensorflow_datasets as tfds

import mnistsum

HERE = Path(__file__).parent


def examples(split, n):
    """Yield the first records of a split, with their keys."""
    for i in range(n):
        yield i, {"image": split.images[i], "label": split.labels[i]}


class Digits(tfds.core.GeneratorBasedBuilder):
    """The first images of MNIST."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(28, 28, 1)),
                "label": tfds.features.ClassLabel(num_classes=10),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        data = mnistsum.load(mnistsum.DataConfig())
        return {"train": examples(data.train, 200), "test": examples(data.test, 40)}

    def _generate_examples(self):
        raise AssertionError("each split has its own generator")


if __name__ == "__main__":
    Digits(data_dir=HERE, file_format="array_record").download_and_prepare()
