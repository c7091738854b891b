import copy
import math

import numpy as np
import pytest
import torch

from gen_ssl.contrast import check_several
from gen_ssl.simclr import SimCLR, SimCLRConfig, nt_xent_logits
from gen_ssl.views import Compose, RandomShift

CONFIG = SimCLRConfig(temperature=0.3, hidden_dim=13, projection_dim=7)


def nt_xent(first, second, temperature):
    """Chen et al. 2020, eq. 1 and algorithm 1, word by word: l(i, j) averaged over both orders of every pair."""
    z = np.concatenate([first, second])
    count = len(first)

    def similarity(i, j):
        return z[i] @ z[j] / (np.linalg.norm(z[i]) * np.linalg.norm(z[j]))

    def loss(i, j):
        others = sum(math.exp(similarity(i, k) / temperature) for k in range(2 * count) if k != i)
        return -math.log(math.exp(similarity(i, j) / temperature) / others)

    return sum(loss(k, k + count) + loss(k + count, k) for k in range(count)) / (2 * count)


def our_loss(first, second, temperature):
    logits, positives = nt_xent_logits(first, second, temperature=temperature)
    return torch.nn.functional.cross_entropy(logits, positives)


def random_pairs():
    return np.random.default_rng(0).normal(size=(2, 5, 3))


@pytest.mark.parametrize("temperature", [0.05, 0.5, 2.0])
def test_the_loss_is_nt_xent_of_the_paper(temperature):
    first, second = random_pairs()
    loss = our_loss(torch.from_numpy(first), torch.from_numpy(second), temperature)
    assert float(loss) == pytest.approx(nt_xent(first, second, temperature), abs=1e-6)


def test_the_gradient_is_that_of_the_paper(slopes):
    first, second = (torch.from_numpy(part).requires_grad_() for part in random_pairs())
    our_loss(first, second, 0.3).backward()
    expected = slopes(lambda pairs: nt_xent(*pairs, 0.3), random_pairs())
    np.testing.assert_allclose(np.stack([first.grad, second.grad]), expected, atol=1e-5)


def test_indistinguishable_projections_have_the_loss_of_guessing():
    ones = torch.ones(7, 3, dtype=torch.float64)
    assert float(our_loss(ones, ones, 0.1)) == pytest.approx(math.log(13))


def test_a_step_takes_two_views_of_each_stack_in_the_order_of_the_batch(make_encoder, make_batch, generator):
    method = SimCLR(make_encoder(), CONFIG, views=RandomShift(3)).double()
    batch = make_batch()
    head = copy.deepcopy(method.head)  # as it was before its statistics saw the batch
    output = method(batch, generator)
    again = torch.Generator().manual_seed(0)
    views = [RandomShift(3)(batch.stacks[0], again) for _ in range(2)]
    assert not torch.equal(*views)
    first, second = head(method.encoder(torch.cat(views))).detach().numpy().reshape(2, 5, -1)
    assert output.loss.item() == pytest.approx(nt_xent(first, second, 0.3), abs=1e-6)
    assert float(output.metrics["loss_at_chance"]) == pytest.approx(math.log(9))


def test_equal_views_of_different_stacks_are_all_found(make_encoder, make_batch, generator):
    output = SimCLR(make_encoder(), CONFIG, views=Compose()).double()(make_batch(), generator)
    assert output.metrics["accuracy"] == 1


def test_the_loss_is_computed_in_float32_at_least(make_encoder, make_batch, generator):
    method = SimCLR(make_encoder(), CONFIG, views=Compose()).bfloat16()
    assert method(make_batch(), generator).loss.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert SimCLR(make_encoder().float(), CONFIG, views=Compose())(make_batch(), generator).loss.dtype == (
            torch.float32
        )


def test_view_pairs_can_be_seen(make_encoder, make_batch, generator):
    batch = make_batch()
    pictures = SimCLR(make_encoder(), CONFIG, views=Compose()).pictures(batch, generator)["view_pairs"]
    assert torch.equal(pictures, torch.cat([batch.stacks[0][:, -1:]] * 2, dim=3))


def test_a_batch_of_one_is_refused(make_encoder, make_batch, generator):
    with pytest.raises(ValueError, match="a contrastive loss needs at least 2 samples in a batch, got 1"):
        SimCLR(make_encoder(), CONFIG, views=Compose()).double()(make_batch(batch_size=1), generator)
    with pytest.raises(ValueError, match="at least 2 samples in a batch, got 0"):
        check_several(0)


def test_a_temperature_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="temperature must be positive, got 0.0"):
        SimCLRConfig(temperature=0.0)
