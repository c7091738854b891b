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


def test_statistics_are_those_of_all_ranks_and_have_no_gradient():
    mine, others = batches(2)
    layer = RunningStandardisation(3, gather=lambda rows: torch.cat([rows, others])).double()
    rows = mine.clone().requires_grad_()
    layer(rows).sum().backward()
    torch.testing.assert_close(layer.mean, torch.cat([mine, others]).mean(dim=0))
    torch.testing.assert_close(rows.grad, layer.variance.rsqrt().expand(13, 3), rtol=1e-6, atol=0)


def test_looking_moves_nothing_and_a_feature_that_never_changes_becomes_0():
    rows = torch.full((7, 3), 5.0)
    layer = RunningStandardisation(3)
    assert torch.equal(layer.eval()(rows), rows)  # before any batch: as they are
    assert torch.equal(layer.train()(rows), torch.zeros(7, 3))
    mean = layer.mean.clone()
    layer.eval()(rows + 1)
    assert torch.equal(layer.mean, mean)


def test_differences_survive_bfloat16():
    rows = (1 + 0.002 * torch.arange(7.0)[:, None].expand(7, 3)).bfloat16()
    standardised = RunningStandardisation(3)(rows)
    assert standardised.dtype == torch.bfloat16
    torch.testing.assert_close(standardised.float().std(dim=0, correction=0), torch.ones(3), atol=0.02, rtol=0)
