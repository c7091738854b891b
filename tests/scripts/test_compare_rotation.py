import gzip
import json
import struct

import numpy as np
import pytest
import torch
from scipy import stats

from gen_ssl.encoders import Encoder
from scripts.compare_rotation import (
    CompareRotation,
    SmallCNN,
    accuracies,
    difference_interval,
    main,
    pretrain,
    read_images,
)

QUICK = CompareRotation(seeds=(0, 1), pretraining_epochs=1, batch_size=97, threads=1)


def write_idx(path, array):
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    content = head + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def test_both_arms_are_compared_on_the_digits_and_written(tmp_path, capsys):
    output = tmp_path / "rotation.json"
    main(CompareRotation(seeds=(0, 1), pretraining_epochs=1, batch_size=13, threads=1, output=output))
    assert "1,437 training and 360 test images" in capsys.readouterr().out
    random, pretrained, difference = (record["value"] for record in json.loads(output.read_text()))
    assert 20 < random < 100
    assert difference == pytest.approx(pretrained - random)


def test_training_and_test_images_are_all_the_digits_and_as_bright_as_frames():
    train, test = read_images(None)
    assert len(train.digits) + len(test.digits) == 1_797
    assert train.pixels.shape[1:] == (1, 8, 8)
    assert train.pixels.max() == 255


def test_the_arms_differ_in_the_convolutions_alone():
    train, test = read_images(None)
    # At a rate at which nothing moves, both arms are the same layers on the same convolutions.
    still = CompareRotation(seeds=(0, 1), pretraining_epochs=1, batch_size=97, learning_rate=1e-12)
    before, after = accuracies(train, test, still, seed=3)
    assert before == after
    assert accuracies(train, test, QUICK, seed=3)[0] == accuracies(train, test, QUICK, seed=3)[0]


def test_pretraining_moves_the_convolutions_and_needs_no_labels():
    train, _ = read_images(None)
    results = []
    for digits in (train.digits, train.digits.flip(0)):
        torch.manual_seed(0)
        encoder = SmallCNN(8)
        pretrain(encoder, train._replace(digits=digits), QUICK, torch.Generator().manual_seed(0))
        results.append(encoder.convolutions[0].weight.detach())
    assert torch.equal(*results)
    torch.manual_seed(0)
    assert not torch.equal(results[0], SmallCNN(8).convolutions[0].weight)


def test_the_small_network_is_an_encoder():
    encoder = SmallCNN(28)
    assert isinstance(encoder, Encoder)
    assert encoder(torch.zeros(3, 1, 28, 28, dtype=torch.uint8)).shape == (3, encoder.feature_dim)


def test_mnist_is_read_from_its_own_files(tmp_path):
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for part, size, suffix in (("train", 7, ""), ("t10k", 5, ".gz")):
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", generator.integers(256, size=(size, 28, 28)))
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", generator.integers(10, size=size))
    train, test = read_images(tmp_path)
    assert train.pixels.shape == (7, 1, 28, 28)
    assert len(test.digits) == 5


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        read_images(tmp_path)


def test_the_interval_is_students():
    differences = [0.01, 0.03, 0.02, 0.05]
    low, high = difference_interval(differences)
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_one_seed_has_no_interval_and_is_refused():
    with pytest.raises(ValueError, match="an interval over seeds needs at least 2, got 1"):
        CompareRotation(seeds=(0,))
