import copy
import math

import numpy as np
import pytest
import torch

from gen_ssl.moco import KeyQueue, MoCo, MoCoConfig, moco_logits
from gen_ssl.views import Compose, RandomShift

CONFIG = MoCoConfig(temperature=0.3, momentum=0.9, queue_size=7, hidden_dim=13, projection_dim=3)


def info_nce(queries, keys, queue, temperature):
    """He et al. 2020, eq. 1, averaged over the queries."""
    losses = []
    for query, key in zip(queries, keys, strict=True):
        own = math.exp(query @ key / temperature)
        losses.append(-math.log(own / (own + sum(math.exp(query @ other / temperature) for other in queue))))
    return sum(losses) / len(losses)


def our_loss(queries, keys, queue, temperature):
    logits = moco_logits(queries, keys, queue, temperature=temperature)
    return torch.nn.functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64))


def random_parts():
    random = np.random.default_rng(0)
    return [random.normal(size=(count, 3)) for count in (5, 5, 7)]


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_the_loss_is_info_nce_of_the_paper(temperature):
    parts = random_parts()
    loss = our_loss(*(torch.from_numpy(part) for part in parts), temperature)
    assert float(loss) == pytest.approx(info_nce(*parts, temperature), abs=1e-6)


def test_the_gradient_is_that_of_the_paper(slopes):
    queries, keys, queue = random_parts()
    ours = torch.from_numpy(queries).requires_grad_()
    our_loss(ours, torch.from_numpy(keys), torch.from_numpy(queue), 0.3).backward()
    expected = slopes(lambda moved: info_nce(moved, keys, queue, 0.3), queries)
    np.testing.assert_allclose(ours.grad, expected, atol=1e-5)


def test_no_gradient_reaches_the_keys():
    parts = [torch.from_numpy(part).requires_grad_() for part in random_parts()]
    our_loss(*parts, 0.3).backward()
    assert [part.grad is None for part in parts] == [False, True, True]


def test_a_batch_that_crosses_the_end_of_the_queue_is_kept_whole():
    queue = KeyQueue(7, 2)
    slots = list(queue.keys.clone())
    position = 0
    for number in range(9):  # 9 batches of 5 end once exactly at the end, and cross it six times
        keys = torch.full((5, 2), float(number)) + torch.arange(5).unsqueeze(1) / 10
        queue.push(keys)
        for key in keys:
            slots[position] = key
            position = (position + 1) % 7
        assert torch.equal(queue.keys, torch.stack(slots))
        assert queue.position == position


def test_of_a_batch_longer_than_the_queue_the_last_keys_stay():
    queue = KeyQueue(5, 1)
    queue.push(torch.arange(13.0).unsqueeze(1))
    assert queue.keys.sort(dim=0).values.flatten().tolist() == [8, 9, 10, 11, 12]
    queue.push(torch.tensor([[20.0]]))  # 8 is the oldest
    assert queue.keys.sort(dim=0).values.flatten().tolist() == [9, 10, 11, 12, 20]


def test_the_queue_begins_with_directions_of_length_one():
    torch.testing.assert_close(KeyQueue(11, 5).keys.norm(dim=1), torch.ones(11))


def test_a_loss_meets_keys_of_earlier_batches_only(make_encoder, make_batch, generator):
    # With equal views and networks, a key of the same batch among the negatives would be a second positive.
    method = MoCo(make_encoder(), CONFIG, views=Compose()).double()
    batch = make_batch()
    before = method.queue.keys.numpy().copy()
    head = copy.deepcopy(method.head)  # as it was before its statistics saw the batch
    output = method(batch, generator)
    projections = head(method.encoder(batch.stacks[0])).detach().numpy()
    directions = projections / np.linalg.norm(projections, axis=1, keepdims=True)
    assert output.loss.item() == pytest.approx(info_nce(directions, directions, before, 0.3), abs=1e-6)
    np.testing.assert_array_equal(method.queue.keys, before)
    method.after_step()
    np.testing.assert_allclose(method.queue.keys[:5], directions, atol=1e-12)
    np.testing.assert_array_equal(method.queue.keys[5:], before[5:])


def test_query_and_key_see_different_views(make_encoder, make_batch, generator):
    method = MoCo(make_encoder(), CONFIG, views=RandomShift(3)).double()
    batch = make_batch()
    heads = [copy.deepcopy(method.head) for _ in range(2)]  # as they were before their statistics saw the batch
    output = method(batch, generator)
    again = torch.Generator().manual_seed(0)
    sides = []
    for head in heads:
        side = head(method.encoder(RandomShift(3)(batch.stacks[0], again))).detach().numpy()
        sides.append(side / np.linalg.norm(side, axis=1, keepdims=True))
    assert not np.allclose(*sides)
    expected = info_nce(*sides, method.queue.keys.numpy(), 0.3)
    assert output.loss.item() == pytest.approx(expected, abs=1e-6)


def test_the_key_network_follows_by_its_momentum_and_receives_no_gradient(make_encoder, make_batch, generator):
    method = MoCo(make_encoder(), CONFIG, views=Compose()).double()
    optimizer = torch.optim.SGD([weight for weight in method.parameters() if weight.requires_grad], lr=0.1)
    start = [weight.clone() for weight in method.key_network.parameters()]
    method(make_batch(), generator).loss.backward()
    assert all(weight.grad is None for weight in method.key_network.parameters())
    optimizer.step()
    method.after_step()
    leaders = [*method.encoder.parameters(), *method.head.parameters()]
    for follower, before, leader in zip(method.key_network.parameters(), start, leaders, strict=True):
        torch.testing.assert_close(follower, 0.9 * before + 0.1 * leader)


def test_looking_at_a_loss_leaves_the_queue_alone(make_encoder, make_batch, generator):
    method = MoCo(make_encoder(), CONFIG, views=Compose()).double().eval()
    method(make_batch(), generator)
    before = method.queue.keys.clone()
    method.after_step()
    assert torch.equal(method.queue.keys, before)


def test_a_batch_of_one_over_all_ranks_is_refused(make_encoder, make_batch, generator):
    method = MoCo(make_encoder(), CONFIG, views=Compose()).double()
    with pytest.raises(ValueError, match="a contrastive loss needs at least 2 samples in a batch, got 1"):
        method(make_batch(batch_size=1), generator)
    of_two_ranks = MoCo(make_encoder(), CONFIG, views=Compose(), gather=lambda rows: torch.cat([rows, rows])).double()
    assert of_two_ranks(make_batch(batch_size=1), generator).loss.isfinite()


def test_a_saved_queue_goes_on_where_it_was(make_encoder, make_batch, generator):
    methods = [MoCo(make_encoder(seed=seed), CONFIG, views=Compose()).double() for seed in (0, 1)]
    methods[0](make_batch(), generator)
    methods[0].after_step()
    methods[1].load_state_dict(methods[0].state_dict())
    for method in methods:
        method(make_batch(seed=1), generator)
        method.after_step()
    assert torch.equal(methods[0].queue.keys, methods[1].queue.keys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"momentum": 1.5}, "momentum must lie between 0 and 1, got 1.5"),
        ({"temperature": -0.1}, "temperature must be positive, got -0.1"),
        ({"queue_size": 0}, "queue_size must be at least 1, got 0"),
    ],
)
def test_impossible_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MoCoConfig(**arguments)
