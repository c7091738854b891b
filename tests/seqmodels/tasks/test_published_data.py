"""The tasks of published data read the very files of their publishers, and say what is wrong with others."""

import gzip
import importlib.util
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from seqmodels.pixel_tokens import as_tokens
from seqmodels.tasks import lra_image, lra_retrieval, lra_text, sequential_cifar, sequential_digits, sequential_mnist
from seqmodels.tasks.mnist import read_idx

WITHOUT_FOLDER = {
    lra_text: "aclImdb_v1.tar.gz",
    lra_image: "cifar-10-binary.tar.gz",
    sequential_cifar: "cifar-10-binary.tar.gz",
    sequential_mnist: "idx3-ubyte",
}


def everything(task, split):
    """Returns inputs, lengths and targets of a split that ends, or of one training epoch, unordered."""
    number = 1_000 if split != "train" else 5_000
    return next(task.batches(split, batch_size=number, seed=0))


@pytest.fixture
def damaged(published, tmp_path):
    """Returns a copy of the data folder, to be spoilt."""
    return shutil.copytree(published, tmp_path / "data")


def test_mnist_is_read_pixel_by_pixel_from_white_1_to_black_minus_1(published):
    batch = everything(sequential_mnist(published), "test")
    raw = gzip.decompress((published / "MNIST/raw/t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    expected = np.frombuffer(raw, dtype=np.uint8).reshape(5, 784) / 127.5 - 1
    np.testing.assert_allclose(batch.inputs[..., 0], expected, atol=1e-6)
    assert batch.targets.tolist() == [0, 1, 2, 3, 4]


def test_a_tenth_of_mnist_is_held_out_for_validation(published):
    task = sequential_mnist(published)
    assert len(everything(task, "validation").targets) == 2  # of 23
    epoch = next(task.batches("train", batch_size=21, seed=0))
    kept = sorted([*epoch.targets.tolist(), *everything(task, "validation").targets.tolist()])
    assert kept == sorted(number % 10 for number in range(23))


def test_colours_of_cifar_are_read_plane_by_plane(published):
    batch = everything(sequential_cifar(published), "test")
    records = np.fromfile(published / "cifar-10-batches-bin/test_batch.bin", dtype=np.uint8).reshape(3, 3073)
    assert batch.targets.tolist() == records[:, 0].tolist()
    for channel in range(3):
        plane = records[:, 1 + 1024 * channel : 1 + 1024 * (channel + 1)] / 127.5 - 1
        np.testing.assert_allclose(batch.inputs[..., channel], plane, atol=1e-6)


def test_the_image_task_is_cifar_in_grey(published):
    colours = everything(sequential_cifar(published), "test").inputs.numpy()
    grey = everything(lra_image(published), "test").inputs[..., 0]
    tokens = everything(as_tokens(lra_image(published)), "test").inputs
    expected = (colours + 1) * 127.5 @ np.array([0.2989, 0.587, 0.114])
    np.testing.assert_allclose(tokens, expected, atol=0.51)
    np.testing.assert_allclose(grey, tokens / 127.5 - 1, atol=1e-6)


def test_reviews_are_bytes_and_kind_ones_are_class_1(published):
    batch = everything(lra_text(published), "test")
    texts = [bytes(row[:length].tolist()).decode() for row, length in zip(batch.inputs, batch.lengths, strict=True)]
    assert len(texts) == 22
    assert all((" is kind" in text) == bool(target) for text, target in zip(texts, batch.targets, strict=True))
    assert "test review 3 is unkind. Né à Paris.!!!" in texts


def test_long_texts_are_cut(published):
    assert everything(lra_text(published, max_length=7), "validation").inputs.shape == (2, 7)


def test_a_pair_of_papers_is_two_adjacent_rows(published):
    batch = everything(lra_retrieval(published), "validation")
    texts = [bytes(row[:length].tolist()).decode() for row, length in zip(batch.inputs, batch.lengths, strict=True)]
    expected = [text for pair in range(3) for text in (f"abstract eval {pair}{'.' * pair}", f'other "eval" {pair}')]
    assert texts == expected
    assert batch.targets.tolist() == [0, 1, 0]


def test_digits_are_those_of_scikit_learn_in_three_fixed_parts():
    from sklearn.datasets import load_digits

    task = sequential_digits()
    sizes = {split: len(everything(task, split).targets) for split in ("validation", "test")}
    assert sizes == {"validation": 180, "test": 180}
    images = np.concatenate(
        [
            next(task.batches(split, batch_size=1_437 if split == "train" else 180, seed=0)).inputs[..., 0]
            for split in ("train", "validation", "test")
        ]
    )
    expected = load_digits().data / 8 - 1
    assert sorted(map(tuple, images.tolist())) == sorted(map(tuple, expected.tolist()))


@pytest.mark.parametrize(
    ("build", "file", "message"),
    [
        (
            sequential_mnist,
            "MNIST/raw/train-labels-idx1-ubyte",
            r"found no train-labels-idx1-ubyte\* in .*; expected in",
        ),
        (lra_image, "cifar-10-batches-bin/data_batch_4.bin", "task image found no data_batch_4.bin in .*bin; expected"),
        (sequential_cifar, "cifar-10-batches-bin/test_batch.bin", "task sequential-cifar found no test_batch.bin in"),
        (lra_text, "aclImdb/test/neg", r"task text found no test/neg/\*.txt in .*aclImdb; expected in the data folder"),
        (lra_retrieval, "lra_release/tsv_data/new_aan_pairs.test.tsv", "found no new_aan_pairs.test.tsv in .*tsv_data"),
    ],
)
def test_a_missing_file_is_named_when_the_task_is_built(build, file, message, damaged):
    path = damaged / file
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(FileNotFoundError, match=message):
        build(damaged)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"\x00\x00\x0d\x01\x00\x00\x00\x03abc",
            "must begin as an idx file of unsigned bytes with 1 axes, got 00 00 0d",
        ),
        (b"\x00\x00", "must begin as an idx file"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x03ab", r"must hold 3 numbers \(3,\), got 2"),
    ],
    ids=["of another type", "too short", "cut off"],
)
def test_a_file_that_is_no_idx_file_is_refused(content, message, tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_idx(path, num_axes=1)


def test_a_gzip_file_that_is_cut_off_is_named(damaged):
    path = damaged / "MNIST/raw/train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match="train-images-idx3-ubyte.gz is no whole gzip file"):
        everything(sequential_mnist(damaged), "test")


def test_images_without_as_many_labels_are_refused(damaged):
    folder = damaged / "MNIST/raw"
    shutil.copy(folder / "t10k-labels-idx1-ubyte", folder / "train-labels-idx1-ubyte")
    with pytest.raises(ValueError, match=r"the train images in .* must be 5 of 28 x 28 pixels, .*, got \(23, 28, 28\)"):
        everything(sequential_mnist(damaged), "test")


def test_a_cifar_file_of_another_size_is_refused(damaged):
    with (damaged / "cifar-10-batches-bin/data_batch_2.bin").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="data_batch_2.bin must hold records of 3,073 bytes, got 9,220 bytes in all"):
        everything(lra_image(damaged), "test")


@pytest.mark.parametrize("line", ["1.0\tA\tB\tone text only\n", "2\tA\tB\tone\ttwo\n"])
def test_a_line_that_is_no_pair_is_named_by_its_number(line, damaged):
    with (damaged / "lra_release/tsv_data/new_aan_pairs.eval.tsv").open("a") as file:
        file.write(line)
    with pytest.raises(ValueError, match="line 4 of .*eval.tsv must have 5 columns, the first of them 0 or 1, got"):
        everything(lra_retrieval(damaged), "test")


@pytest.mark.parametrize("text", [b"", b"\0" * 3])
def test_a_review_without_text_is_named_by_its_file(text, damaged):
    (damaged / "aclImdb/train/neg/3_7.txt").write_bytes(text)
    with pytest.raises(ValueError, match="train/neg/3_7.txt must hold a text of at least 1 byte that is not 0, got b'"):
        everything(lra_text(damaged), "test")


@pytest.mark.parametrize(("line", "column"), [(b"1\tA\tB\t\ttwo\n", 4), (b"1\tA\tB\tone\t\0\0\n", 5)])
def test_a_paper_without_text_is_named_by_its_line_and_column(line, column, damaged):
    with (damaged / "lra_release/tsv_data/new_aan_pairs.eval.tsv").open("ab") as file:
        file.write(line)
    with pytest.raises(
        ValueError, match=f"column {column} in line 4 of .*eval.tsv must hold a text of at least 1 byte"
    ):
        everything(lra_retrieval(damaged), "test")


def test_zero_bytes_are_left_out_before_a_text_is_cut(damaged):
    path = damaged / "lra_release/tsv_data/new_aan_pairs.eval.tsv"
    path.write_bytes(b"1\tA\tB\t" + b"\0" * 9 + b"one\tt\0wo\n")
    batch = everything(lra_retrieval(damaged, max_length=3), "validation")
    assert [bytes(row.tolist()) for row in batch.inputs] == [b"one", b"two"]


def test_an_example_of_the_hub_without_text_is_named_by_its_number(monkeypatch):
    rows = [{"text": "fine", "label": 1}, {"text": "", "label": 0}]
    monkeypatch.setattr("seqmodels.tasks.imdb.hub_examples", lambda published, split: rows)
    monkeypatch.setattr("seqmodels.tasks.imdb.locate", lambda published, data: None)
    with pytest.raises(ValueError, match="example 1 of train in stanfordnlp/imdb must hold a text of at least 1 byte"):
        everything(lra_text(None), "test")


def test_retrieval_is_read_from_a_folder_only():
    with pytest.raises(FileNotFoundError, match="task retrieval needs a data folder .*lra_release.gz"):
        lra_retrieval(None)


@pytest.mark.parametrize("build", WITHOUT_FOLDER, ids=lambda build: build.__name__)
def test_without_a_folder_and_without_datasets_both_ways_to_the_data_are_named(build, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "seqmodels.tasks.published_files.find_spec", lambda name: None if name == "datasets" else find_spec(name)
    )
    with pytest.raises(
        FileNotFoundError, match=f"needs the package `datasets`, .* or a data folder .*{WITHOUT_FOLDER[build]}"
    ):
        build(None)


def test_where_the_hub_cannot_be_reached_the_other_way_to_the_data_is_named(monkeypatch):
    def load_dataset(name, *, split):
        raise ConnectionError(f"Couldn't reach '{name}' on the Hub")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    monkeypatch.setattr("seqmodels.tasks.published_files.find_spec", lambda name: object())
    with pytest.raises(
        FileNotFoundError,
        match="got nothing through `datasets` .Couldn't reach 'ylecun/mnist' on the Hub., and needs a data folder "
        r"\(--data DIR\); expected in the data folder is MNIST/raw: train-images-idx3-ubyte",
    ):
        everything(sequential_mnist(None), "test")
