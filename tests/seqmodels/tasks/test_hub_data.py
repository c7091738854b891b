"""Published data through the `datasets` package: here from files in its own format instead of the network."""

import numpy as np
import pytest

from seqmodels.tasks import lra_image, lra_text, sequential_cifar, sequential_mnist
from seqmodels.tasks.cifar10 import CIFAR_10, LRA_IMAGE
from seqmodels.tasks.imdb import IMDB
from seqmodels.tasks.mnist import MNIST

NUM_EXAMPLES = {"train": 11, "test": 3}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Returns what writes columns as a data set that load_dataset finds, and gives its name."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def write(columns_of, features):
        folder = tmp_path / "hub"
        folder.mkdir()
        for split, number in NUM_EXAMPLES.items():
            data = datasets.Dataset.from_dict(columns_of(number), features=datasets.Features(features(datasets)))
            data.to_parquet(folder / f"{split}-00000-of-00001.parquet")
        return str(folder)

    return write


def images(number, shape):
    return np.random.default_rng(number).integers(0, 256, size=(number, *shape), dtype=np.uint8)


@pytest.mark.slow
def test_mnist_of_the_hub_is_read_as_that_of_the_files(hub, monkeypatch):
    name = hub(
        lambda number: {"image": list(images(number, (28, 28))), "label": list(range(number))},
        lambda datasets: {"image": datasets.Image(), "label": datasets.Value("int64")},
    )
    monkeypatch.setattr("seqmodels.tasks.mnist.MNIST", MNIST._replace(hub_name=name))
    (batch,) = sequential_mnist(None).batches("test", batch_size=5, seed=0)
    np.testing.assert_allclose(batch.inputs[..., 0], images(3, (28, 28)).reshape(3, -1) / 127.5 - 1, atol=1e-6)
    assert batch.targets.tolist() == [0, 1, 2]


@pytest.mark.slow
def test_cifar_of_the_hub_is_read_as_that_of_the_files(hub, monkeypatch):
    name = hub(
        lambda number: {"img": list(images(number, (32, 32, 3))), "label": list(range(number))},
        lambda datasets: {"img": datasets.Image(), "label": datasets.Value("int64")},
    )
    monkeypatch.setattr("seqmodels.tasks.cifar10.CIFAR_10", CIFAR_10._replace(hub_name=name))
    monkeypatch.setattr("seqmodels.tasks.cifar10.LRA_IMAGE", LRA_IMAGE._replace(hub_name=name))
    (colours,) = sequential_cifar(None).batches("test", batch_size=5, seed=0)
    np.testing.assert_allclose(colours.inputs, images(3, (32, 32, 3)).reshape(3, -1, 3) / 127.5 - 1, atol=1e-6)
    (grey,) = lra_image(None).batches("test", batch_size=5, seed=0)
    assert grey.inputs.shape == (3, 1024, 1)
    assert grey.targets.tolist() == colours.targets.tolist() == [0, 1, 2]


@pytest.mark.slow
def test_reviews_of_the_hub_are_read_as_those_of_the_files(hub, monkeypatch):
    name = hub(
        lambda number: {"text": [f"Né {i}" for i in range(number)], "label": [i % 2 for i in range(number)]},
        lambda datasets: {"text": datasets.Value("string"), "label": datasets.Value("int64")},
    )
    monkeypatch.setattr("seqmodels.tasks.imdb.IMDB", IMDB._replace(hub_name=name))
    (batch,) = lra_text(None).batches("test", batch_size=5, seed=0)
    assert [bytes(row.tolist()).decode() for row in batch.inputs] == ["Né 0", "Né 1", "Né 2"]
    assert batch.targets.tolist() == [0, 1, 0]
