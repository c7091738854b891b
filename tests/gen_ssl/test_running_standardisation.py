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


def test_with_a_gradient_statistics_are_the_batchs_own_and_the_gradient_flows_through_them():
    earlier, rows, weights = batches(3)
    layer = RunningStandardisation(3).double()
    layer(2 * earlier)
    rows.requires_grad_()
    expected = torch.nn.functional.batch_norm(rows, None, None, training=True, eps=1e-12)
    torch.testing.assert_close(layer(rows), expected)
    (gradient,) = torch.autograd.grad((weights * layer(rows)).sum(), rows)
    torch.testing.assert_close(gradient, torch.autograd.grad((weights * expected).sum(), rows)[0])
    # So no step moves what all rows have in common, to first order.
    torch.testing.assert_close(gradient.sum(dim=0), torch.zeros(3).double(), atol=1e-8, rtol=0)


def test_without_a_gradient_they_are_running_averages():
    earlier, rows = batches(2)
    layer = RunningStandardisation(3, momentum=0.5).double()
    with torch.no_grad():
        layer(2 * earlier)
        standardised = layer(rows)
    mean = (2 * earlier.mean(dim=0) + rows.mean(dim=0)) / 2
    torch.testing.assert_close(layer.mean, mean)
    torch.testing.assert_close(standardised, (rows - mean) / layer.variance.sqrt())


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
