import pytest
import torch

from gen_ssl.probing import LinearConfig, weighted_f1
from gen_ssl.probing.linear_classifiers import LinearClassifiers, Standardisation, ValueTable


def samples(seed=0, *, count=1_009, dim=13):
    """Features of which the first two each tell one variable, and a third variable that none tells."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, dim, generator=generator)
    told = (features[:, :2] * 1.5).round().long().clamp(-2, 2) + 7
    untold = torch.randint(5, (count, 1), generator=generator)
    return features, torch.cat([told, untold], dim=1)


def fitted(columns=slice(None), **settings):
    config = LinearConfig(**{"learning_rate": 0.03, "epochs": 40, "batch_size": 31, **settings})
    (train, train_classes), (validation, validation_classes) = samples(0), samples(1)
    classifiers = LinearClassifiers(config)
    classifiers.fit(
        (train, train_classes[:, columns]),
        (validation, validation_classes[:, columns]),
        torch.Generator().manual_seed(5),
    )
    return classifiers


def test_what_features_tell_is_predicted_and_what_they_do_not_is_not():
    features, classes = samples(2)
    predictions = fitted().predict(features)
    scores = [weighted_f1(classes[:, variable], predictions[:, variable]) for variable in range(3)]
    assert scores[0] > 0.8
    assert scores[1] > 0.8
    assert scores[2] < 0.4


def test_classifiers_fitted_together_are_those_fitted_alone():
    features, _ = samples(2)
    together = fitted(patience_epochs=1_000).predict(features)
    for variable in range(3):
        alone = fitted([variable], patience_epochs=1_000).predict(features)
        assert torch.equal(together[:, [variable]], alone)


def test_a_classifier_is_kept_from_the_epoch_that_validated_best():
    features, _ = samples(0, count=53, dim=97)
    generator = torch.Generator().manual_seed(9)
    # Validated on labels of chance: the best epoch is an early one, before the training labels are learned by heart.
    noise = torch.randint(5, (53, 1), generator=generator)
    chance = torch.randint(5, (53, 1), generator=generator)
    kept = LinearClassifiers(LinearConfig(learning_rate=0.03, epochs=100, patience_epochs=100, batch_size=31))
    kept.fit((features, noise), (features, chance), torch.Generator().manual_seed(5))
    learned_by_heart = LinearClassifiers(
        LinearConfig(learning_rate=0.03, epochs=100, patience_epochs=100, batch_size=31)
    )
    learned_by_heart.fit((features, noise), (features, noise), torch.Generator().manual_seed(5))
    hits = [(classifier.predict(features) == noise).float().mean() for classifier in (kept, learned_by_heart)]
    assert hits[0] < 0.9
    assert hits[1] == 1.0


def test_a_value_that_training_never_shows_counts_neither_in_the_loss_nor_as_a_prediction():
    table = ValueTable(torch.tensor([[3], [9], [3]]))
    assert table.columns(torch.tensor([[9], [3], [4], [200]])).tolist() == [[1], [0], [-100], [-100]]
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    seen_only = table.losses(logits[:1], torch.tensor([[1]]))
    torch.testing.assert_close(table.losses(logits, torch.tensor([[1], [-100]])), seen_only)
    assert table.predictions(logits).tolist() == [[9], [3]]


def test_standardised_features_have_no_scale_of_their_own():
    features = torch.randn(101, 5) * torch.tensor([1e-3, 1.0, 50.0, 7.0, 0.0]) + torch.tensor(
        [0.0, 3.0, -9.0, 1.0, 4.0]
    )
    scaled = Standardisation(features)(features)
    torch.testing.assert_close(scaled.mean(dim=0), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        scaled.std(dim=0, correction=0), torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0]), atol=1e-3, rtol=0
    )


def test_without_standardisation_small_features_are_learned_slowly():
    config = {"learning_rate": 0.01, "epochs": 5}
    features, classes = samples(0)
    hits = []
    for standardise in (True, False):
        classifiers = LinearClassifiers(LinearConfig(**config, standardise=standardise))
        classifiers.fit((features * 1e-3, classes), (features * 1e-3, classes), torch.Generator().manual_seed(0))
        hits.append(float((classifiers.predict(features * 1e-3) == classes)[:, 0].float().mean()))
    assert hits[0] > hits[1] + 0.2


def test_settings_that_are_not_positive_are_refused():
    with pytest.raises(ValueError, match="epochs must be positive, got 0"):
        LinearConfig(epochs=0)
