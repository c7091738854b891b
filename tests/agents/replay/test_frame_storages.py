"""The contract that every frame storage keeps."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.replay import DeviceStorage, FrameStorage, Lz4Storage, RawStorage

Build = Callable[..., FrameStorage]


def on_cpu(capacity: int, item_shape: tuple[int, ...], *, dtype: torch.dtype = torch.uint8) -> FrameStorage:
    return DeviceStorage(capacity, item_shape, device=torch.device("cpu"), dtype=dtype)


def on_gpu(capacity: int, item_shape: tuple[int, ...], *, dtype: torch.dtype = torch.uint8) -> FrameStorage:
    return DeviceStorage(capacity, item_shape, device=torch.device("cuda"), dtype=dtype)


every_storage = pytest.mark.parametrize(
    "build", [RawStorage, Lz4Storage, on_cpu, pytest.param(on_gpu, marks=pytest.mark.gpu)]
)
every_item = pytest.mark.parametrize(
    ("item_shape", "dtype"), [((1, 11, 13), torch.uint8), ((3, 5, 7), torch.uint8), ((17,), torch.float32)]
)


def items_like(num_items: int, item_shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    if dtype == torch.uint8:
        return generator.integers(0, 256, (num_items, *item_shape), dtype=np.uint8)
    return generator.standard_normal((num_items, *item_shape), dtype=np.float32)


@every_storage
@every_item
def test_storage_equals_a_plain_list_under_random_writes(
    build: Build, item_shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    generator = np.random.default_rng(1)
    storage = build(29, item_shape, dtype=dtype)
    assert isinstance(storage, FrameStorage)
    assert (storage.capacity, storage.item_shape, storage.dtype) == (29, item_shape, dtype)
    plain: dict[int, np.ndarray] = {}
    for round_ in range(23):
        slots = generator.permutation(29)[: generator.integers(1, 7)]
        items = items_like(len(slots), item_shape, dtype, seed=round_)
        storage.write(slots, items)
        plain |= dict(zip(slots.tolist(), items, strict=True))

        asked = generator.choice(list(plain), 31)  # with repeats
        read = storage.read(asked)
        assert read.dtype == dtype
        assert read.device.type == storage.device.type
        np.testing.assert_array_equal(read.cpu().numpy(), np.stack([plain[slot] for slot in asked.tolist()]))


@every_storage
def test_what_was_read_does_not_change_with_a_later_write(build: Build) -> None:
    storage = build(3, (1, 5, 7))
    slots = np.arange(3)
    storage.write(slots, items_like(3, (1, 5, 7), torch.uint8, seed=1))
    read = storage.read(slots)
    before = read.clone()
    storage.write(slots, items_like(3, (1, 5, 7), torch.uint8, seed=2))
    assert torch.equal(read, before)
    read.zero_()
    assert storage.read(slots).any()


@every_storage
@every_item
def test_saved_storage_is_restored_and_its_file_holds_only_what_is_used(
    build: Build, item_shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    storage, restored = build(10_007, item_shape, dtype=dtype), build(10_007, item_shape, dtype=dtype)
    items = items_like(7, item_shape, dtype)
    storage.write(np.arange(7), items)
    restored.write(np.arange(5, 11), items_like(6, item_shape, dtype, seed=9))
    file = io.BytesIO()
    torch.save(storage.state_dict(used=8), file)
    assert file.tell() < 3000 + 2 * items.nbytes
    file.seek(0)
    restored.load_state_dict(torch.load(file, weights_only=True))
    np.testing.assert_array_equal(restored.read(np.arange(7)).cpu().numpy(), items)


@every_storage
def test_empty_storage_is_saved_and_restored(build: Build) -> None:
    storage = build(5, (1, 5, 7))
    storage.load_state_dict(build(5, (1, 5, 7)).state_dict(used=0))
    storage.write(np.array([3]), items_like(1, (1, 5, 7), torch.uint8))
    np.testing.assert_array_equal(storage.read(np.array([3])).cpu(), items_like(1, (1, 5, 7), torch.uint8))


@every_storage
def test_items_of_another_shape_or_type_are_refused(build: Build) -> None:
    storage = build(5, (1, 5, 7))
    with pytest.raises(ValueError, match=r"frames must have shape \(N, 1, 5, 7\), got \(3, 1, 7, 5\)"):
        storage.write(np.arange(3), items_like(3, (1, 7, 5), torch.uint8))
    with pytest.raises(ValueError, match="frames must be uint8, got float32"):
        storage.write(np.arange(3), items_like(3, (1, 5, 7), torch.float32))


@every_storage
def test_state_of_another_storage_is_refused(build: Build) -> None:
    storage = build(5, (1, 5, 7))
    with pytest.raises(ValueError, match="the saved replay storage has capacity 7, this one has 5"):
        storage.load_state_dict(build(7, (1, 5, 7)).state_dict(used=0))
    with pytest.raises(ValueError, match=r"has item_shape \[1, 7, 5\], this one has \[1, 5, 7\]"):
        storage.load_state_dict(build(5, (1, 7, 5)).state_dict(used=0))
    with pytest.raises(ValueError, match=r"has dtype torch\.float32, this one has torch\.uint8"):
        storage.load_state_dict(build(5, (1, 5, 7), dtype=torch.float32).state_dict(used=0))
    other = RawStorage if build is Lz4Storage else Lz4Storage
    with pytest.raises(ValueError, match="the saved replay storage has kind"):
        storage.load_state_dict(other(5, (1, 5, 7)).state_dict(used=0))


@every_storage
def test_impossible_sizes_are_refused(build: Build) -> None:
    with pytest.raises(ValueError, match="capacity must be at least 1, got 0"):
        build(0, (1, 5, 7))
    with pytest.raises(ValueError, match=r"item_shape must have at least one axis.*got \(1, 0, 7\)"):
        build(5, (1, 0, 7))
    with pytest.raises(ValueError, match=r"item_shape must have at least one axis.*got \(\)"):
        build(5, ())


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the resident memory from /proc")
def test_raw_storage_of_a_million_frames_takes_memory_only_as_it_fills() -> None:
    def resident_pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    before = resident_pages()
    storage = RawStorage(1_000_003, (1, 84, 84))
    storage.write(np.array([3, 500_000, 1_000_002]), items_like(3, (1, 84, 84), torch.uint8))
    assert (resident_pages() - before) * 4096 < 20e6
    np.testing.assert_array_equal(storage.read(np.array([1_000_002]))[0], items_like(3, (1, 84, 84), torch.uint8)[2])
