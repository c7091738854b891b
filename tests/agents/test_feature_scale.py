import numpy as np
import torch

from agents.feature_scale import FARTHEST, FeatureScale


def test_features_become_deviations_from_the_mean():
    features = np.random.default_rng(0).normal(3.0, [1e-4, 1.0, 50.0], (101, 3)).astype(np.float32)
    scale = FeatureScale(3)
    scale.fit(torch.from_numpy(features))
    expected = (features - features.mean(axis=0, dtype=np.float64)) / features.std(axis=0, dtype=np.float64)
    np.testing.assert_allclose(scale(torch.from_numpy(features)).numpy(), expected, atol=2e-2)


def test_before_it_is_fitted_features_stay_as_they_are():
    features = torch.tensor([[-1.5, 0.25], [7.0, 0.0]])
    assert torch.equal(FeatureScale(2)(features), features)


def test_a_constant_feature_keeps_its_size():
    scale = FeatureScale(2)
    scale.fit(torch.tensor([[0.0, 3.0], [0.0, 3.0]]))
    assert torch.equal(scale(torch.tensor([[0.0, 3.0], [2.0, 1.0]])), torch.tensor([[0.0, 0.0], [2.0, -2.0]]))


def test_what_was_never_seen_at_fitting_is_kept_within_bounds():
    scale = FeatureScale(1)
    scale.fit(torch.tensor([[1.0], [1.001]]))
    assert torch.equal(scale(torch.tensor([[900.0], [-900.0]])), torch.tensor([[FARTHEST], [-FARTHEST]]))
