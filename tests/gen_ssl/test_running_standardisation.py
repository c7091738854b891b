import torch

from gen_ssl.running_standardisation import RunningStandardisation


def batches(count):
    generator = torch.Generator().manual_seed(0)
    return [5 + 0.01 * torch.randn(13, 3, generator=generator, dtype=torch.float64) for _ in range(count)]


def test_the_first_batch_gets_mean_0_and_deviation_1():
    (rows,) = batches(1)
    standardised = RunningStandardisation(3).double()(rows)
    torch.testing.assert_close(standardised.mean(dim=0), torch.zeros(3).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(standardised.std(dim=0, correction=0), torch.ones(3).double(), atol=1e-6, rtol=0)


def test_the_first_batches_count_alike_and_later_ones_by_the_momentum():
    first, second, third = batches(3)
    layer = RunningStandardisation(3, momentum=0.6).double()
    layer(first)
    layer(second)
    torch.testing.assert_close(layer.mean, (first.mean(dim=0) + second.mean(dim=0)) / 2)
    before = layer.mean.clone()
    layer(third)  # a third would be less than 1 - 0.6
    torch.testing.assert_close(layer.mean, 0.6 * before + 0.4 * third.mean(dim=0))


def test_statistics_are_those_of_all_ranks():
    mine, others = batches(2)
    layer = RunningStandardisation(3, gather=lambda rows: torch.cat([rows, others])).double()
    layer(mine)
    torch.testing.assert_close(layer.mean, torch.cat([mine, others]).mean(dim=0))
    torch.testing.assert_close(layer.variance, torch.cat([mine, others]).var(dim=0, correction=0))


def test_outputs_are_those_of_the_running_statistics_and_gradients_those_of_the_batchs_own():
    earlier, rows = batches(2)
    layer = RunningStandardisation(3, momentum=0.5).double()
    layer(5 + 2 * (earlier - 5))
    rows, weights = rows.requires_grad_(), batches(3)[2]
    standardised = layer(rows)
    torch.testing.assert_close(standardised, (rows - layer.mean) / (layer.variance + 1e-12).sqrt())
    (gradient,) = torch.autograd.grad((weights * standardised).sum(), rows)
    of_batch = torch.nn.functional.batch_norm(rows, None, None, training=True, eps=1e-12)
    (expected,) = torch.autograd.grad((weights * of_batch).sum(), rows)
    ratio = (rows.var(dim=0, correction=0) / layer.variance).sqrt().detach()
    torch.testing.assert_close(gradient, expected * ratio, rtol=1e-6, atol=1e-9)
    # So no step moves what all rows have in common, to first order.
    torch.testing.assert_close(gradient.sum(dim=0), torch.zeros(3).double(), atol=1e-8, rtol=0)


def test_a_feature_that_was_dead_until_now_stays_within_bounds():
    layer = RunningStandardisation(1).double()
    for _ in range(31):
        layer(torch.zeros(7, 1).double())
    rows = torch.tensor([[0.0], [0.0], [1.0]]).double()
    assert layer(rows).abs().max() <= 3 * 2**0.5 + 5
    assert layer.eval()(rows).abs().max() > 0


def test_looking_moves_nothing_and_a_feature_that_never_changes_becomes_0():
    rows = torch.full((7, 3), 5.0)
    layer = RunningStandardisation(3)
    assert torch.equal(layer.eval()(rows), rows)  # before any batch: as they are
    assert torch.equal(layer.train()(rows), torch.zeros(7, 3))
    mean = layer.mean.clone()
    layer.eval()(rows + 1)
    assert torch.equal(layer.mean, mean)


def test_bfloat16_is_standardised_in_float32():
    rows = (1 + 0.01 * torch.arange(7.0)[:, None].expand(7, 3)).bfloat16()  # its step is 0.0078 there
    expected = RunningStandardisation(3)(rows.float()).bfloat16()
    assert torch.equal(RunningStandardisation(3)(rows), expected)
    assert len(expected.unique()) == 7
