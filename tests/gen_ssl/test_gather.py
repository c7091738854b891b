import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from gen_ssl.atc import ATC, ATCConfig
from gen_ssl.encoders import DQN2013CNN
from gen_ssl.frames import FrameBatch
from gen_ssl.gather import gather_by, keep_rows
from gen_ssl.moco import MoCo, MoCoConfig
from gen_ssl.simclr import SimCLR, SimCLRConfig
from gen_ssl.st_dim import STDIM, STDIMConfig
from gen_ssl.views import Compose

FRAME_SHAPE = (1, 23, 29)
METHODS = ("simclr", "moco", "atc", "st-dim")


def test_alone_rows_are_kept():
    rows = torch.arange(6.0).view(3, 2)
    assert keep_rows(rows) is rows
    assert gather_by(lambda rows, sync_grads: rows)(rows) is rows


def test_gathered_rows_follow_each_other_rank_by_rank():
    rows = torch.arange(12.0).view(3, 2, 2)
    gather = gather_by(lambda rows, sync_grads: torch.stack([rows, rows + 100]))
    assert torch.equal(gather(rows), torch.cat([rows, rows + 100]))


def build(name, gather):
    torch.manual_seed(0)
    encoder = DQN2013CNN(FRAME_SHAPE, feature_dim=7)
    if name == "simclr":
        return SimCLR(encoder, SimCLRConfig(hidden_dim=13, projection_dim=5), views=Compose(), gather=gather)
    if name == "moco":
        config = MoCoConfig(hidden_dim=13, projection_dim=5, queue_size=11)
        return MoCo(encoder, config, views=Compose(), gather=gather)
    if name == "atc":
        return ATC(encoder, ATCConfig(latent_dim=5, hidden_dim=13), views=Compose(), gather=gather)
    return STDIM(encoder, STDIMConfig(), gather=gather)


def save_losses_gradients_and_queues(fabric, file):
    """Saves, for every method, the mean loss, the averaged gradient, and the queue after two batches, if any.

    In a file: between processes only little can be handed over.
    """
    share = slice(fabric.global_rank * 6 // fabric.world_size, (fabric.global_rank + 1) * 6 // fabric.world_size)
    results = {}
    for name in METHODS:
        method = fabric.setup(build(name, gather_by(fabric.all_gather)))
        for seed in (0, 1):
            shape = (len(method.time_offsets), 6, *FRAME_SHAPE)
            generator = torch.Generator().manual_seed(seed)
            stacks = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)[:, share]
            number = stacks.shape[1]
            zeros = torch.zeros(number, dtype=torch.int64)
            loss = method(FrameBatch(stacks, zeros, torch.zeros(number), zeros), generator).loss
            method.zero_grad()
            fabric.backward(loss)
            if name in ("moco", "atc"):
                method.after_step()
        gradient = torch.cat([weight.grad.flatten() for weight in method.parameters() if weight.grad is not None])
        queue = method.queue.keys if name == "moco" else torch.zeros(1)
        queues = fabric.all_gather(queue).view(fabric.world_size, -1)
        loss = fabric.all_reduce(loss.detach(), reduce_op="mean")
        results[name] = (loss, gradient, queues)
    if fabric.is_global_zero:
        torch.save(results, file)


@pytest.mark.slow
def test_two_processes_have_the_losses_the_gradients_and_the_queue_of_one(tmp_path):
    alone = Fabric(accelerator="cpu", devices=1)
    both = Fabric(accelerator="cpu", devices=2, strategy="ddp_spawn")
    save_losses_gradients_and_queues(alone, tmp_path / "one.pt")
    both.launch(save_losses_gradients_and_queues, tmp_path / "two.pt")
    one, two = (torch.load(tmp_path / name) for name in ("one.pt", "two.pt"))
    for name in METHODS:
        loss, gradient, queues = two[name]
        expected_loss, expected_gradient, expected_queue = one[name]
        assert loss.item() == pytest.approx(expected_loss.item(), abs=1e-5), name
        np.testing.assert_allclose(gradient, expected_gradient, atol=1e-5, err_msg=name)
        np.testing.assert_array_equal(queues[0], queues[1])
        np.testing.assert_allclose(queues[0], expected_queue[0], atol=1e-5)
