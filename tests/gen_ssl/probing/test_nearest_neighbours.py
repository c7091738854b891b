import math

import torch

from gen_ssl.probing import nearest_neighbour_classes


def by_loops(train_features, train_classes, feature, *, num_neighbours, temperature):
    """The vote for one sample, as section 3.4 of Wu et al. 2018 states it."""
    similar = sorted(
        ((float(torch.cosine_similarity(feature, other, dim=0)), index) for index, other in enumerate(train_features)),
        reverse=True,
    )
    predictions = []
    for classes in train_classes.T:
        votes = {}
        for similarity, index in similar[:num_neighbours]:
            value = int(classes[index])
            votes[value] = votes.get(value, 0.0) + math.exp(similarity / temperature)
        predictions.append(max(votes, key=votes.get))
    return predictions


def test_the_vote_is_that_of_the_paper():
    generator = torch.Generator().manual_seed(0)
    train_features = torch.randn(53, 7, generator=generator)
    train_classes = torch.randint(5, (53, 3), generator=generator)
    features = torch.randn(11, 7, generator=generator)
    found = nearest_neighbour_classes(train_features, train_classes, features, num_neighbours=13, chunk=4)
    expected = [
        by_loops(train_features, train_classes, feature, num_neighbours=13, temperature=0.07) for feature in features
    ]
    assert found.tolist() == expected


def test_with_few_training_samples_all_of_them_vote():
    features = torch.eye(3)
    classes = torch.tensor([[2], [0], [1]])
    assert nearest_neighbour_classes(features, classes, features, num_neighbours=20).tolist() == classes.tolist()


def test_neighbours_are_found_where_features_differ_by_a_thousandth_of_their_mean():
    generator = torch.Generator().manual_seed(0)
    common, direction = torch.rand(2, 512, generator=generator).unbind(0)
    places = torch.rand(1_013, generator=generator)
    features = 1 + common + 1e-3 * places[:, None] * direction
    classes = (10 * places).long()[:, None]
    found = nearest_neighbour_classes(features[:809], classes[:809], features[809:], num_neighbours=5)
    assert (found == classes[809:]).float().mean() > 0.9
