import torch

from gen_ssl.probing.positions import position_r2


def part(seed, *, count=307, noise=0.0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, 7, generator=generator) * 3 + 1
    place = 40 + features[:, :1] * 5 - features[:, 3:4] * 2 + noise * torch.randn(count, 1, generator=generator)
    unrelated = torch.rand(count, 1, generator=generator) * 80
    return features, torch.cat([place, unrelated], dim=1)


def test_a_place_that_is_linear_in_the_features_has_r2_one_and_an_unrelated_one_about_none():
    linear, unrelated = position_r2(part(0), part(1), part(2)).tolist()
    assert linear > 0.999
    assert abs(unrelated) < 0.1


def test_noise_of_known_size_leaves_the_share_of_variance_that_it_does_not_explain():
    # Variance explained: (5^2 + 2^2) * 3^2 = 261; noise: 9^2 = 81.
    linear = position_r2(part(0, count=4_001, noise=9.0), part(1, noise=9.0), part(2, count=4_001, noise=9.0))[0]
    assert abs(float(linear) - 261 / (261 + 81)) < 0.03


def test_more_features_than_samples_are_held_by_the_penalty():
    generator = torch.Generator().manual_seed(0)
    parts = [
        (torch.randn(count, 97, generator=generator), torch.rand(count, 1, generator=generator))
        for count in (31, 29, 37)
    ]
    assert float(position_r2(*parts)[0]) > -1.0
