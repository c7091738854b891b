import cmath
import math

import pytest
import torch

from seqmodels.positions import (
    AlibiBias,
    LearnedPositions,
    RotaryPositions,
    SinusoidalPositions,
    TransformerXLBias,
    key_distances,
    sinusoids,
)

D = 6


def test_sinusoids_are_those_of_the_2017_transformer():
    positions = torch.tensor([[0, 1, 7], [3, 3, 100_003]])
    vectors = SinusoidalPositions(D)(positions)
    for row in range(2):
        for column in range(3):
            for place in range(D):
                angle = int(positions[row, column]) / 10_000 ** (2 * (place // 2) / D)
                expected = math.sin(angle) if place % 2 == 0 else math.cos(angle)
                assert vectors[row, column, place].item() == pytest.approx(expected, abs=1e-9)


def test_sinusoids_of_an_odd_size_end_with_a_sine():
    vectors = sinusoids(torch.arange(5), 3, torch.float64)
    assert vectors.shape == (5, 3)
    expected = torch.sin(torch.arange(5, dtype=torch.float64) / 10_000 ** (2 / 3))
    assert torch.allclose(vectors[:, 2], expected, atol=1e-12)


def test_a_sequence_longer_than_its_learned_positions_is_refused():
    learned = LearnedPositions(D, max_length=5)
    assert learned(torch.tensor([[0, 4]])).shape == (1, 2, D)
    with pytest.raises(ValueError, match="sequences of at most 5, got one of 6, the positions of the carried state"):
        learned(torch.tensor([[4, 5]]))


def test_learned_positions_begin_as_long_as_the_norms_output_that_they_are_added_to():
    torch.manual_seed(0)
    vectors = LearnedPositions(64, max_length=101)(torch.arange(101).unsqueeze(0))
    assert vectors.square().mean().sqrt().item() == pytest.approx(1.0, rel=0.05)


def test_learned_positions_need_a_length():
    with pytest.raises(ValueError, match="max_length must be at least 1, got 0"):
        LearnedPositions(D, max_length=0)


def test_rotary_positions_turn_each_pair_as_a_complex_number():
    heads = torch.randn(2, 3, 5, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    position = torch.tensor([[0, 1, 2, 3, 4], [7, 8, 0, 1, 2]])
    turned = RotaryPositions(D)(heads, position)
    for row in range(2):
        for column in range(5):
            for pair in range(D // 2):
                vector = heads[row, 1, column]
                angle = int(position[row, column]) * 10_000 ** (-2 * pair / D)
                expected = complex(vector[2 * pair], vector[2 * pair + 1]) * cmath.exp(1j * angle)
                actual = turned[row, 1, column]
                assert complex(actual[2 * pair], actual[2 * pair + 1]) == pytest.approx(expected, abs=1e-12)


def test_rotary_scores_depend_on_the_distance_only():
    query, key = torch.randn(2, 1, 1, 1, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rotary = RotaryPositions(D)

    def score(i: int, j: int) -> float:
        return float((rotary(query, torch.tensor([[i]])) * rotary(key, torch.tensor([[j]]))).sum())

    assert score(5, 2) == pytest.approx(score(1_003, 1_000), abs=1e-12)
    assert score(5, 2) != pytest.approx(score(5, 3), abs=1e-3)


def test_rotary_positions_refuse_a_head_of_odd_size():
    with pytest.raises(ValueError, match="the size of a head must be even, got 5"):
        RotaryPositions(5)


def test_alibi_slopes_are_those_of_the_paper():
    assert AlibiBias(8).slopes.tolist() == [2.0**-power for power in range(1, 9)]
    # Six heads: the four of 4 heads, then the first and the third of 8 heads.
    assert AlibiBias(6).slopes.tolist() == [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8, 2.0**-1, 2.0**-3]


def test_alibi_takes_slope_times_distance_off():
    query, keys = torch.zeros(1, 2, 3, D), torch.zeros(1, 2, 5, D)
    bias = AlibiBias(2)(query, keys)  # slopes 2^-4 and 2^-8; the queries are the last three of five columns
    for i, place in enumerate((2, 3, 4)):
        for j in range(place + 1):
            assert bias[0, 0, i, j] == -(place - j) / 16
            assert bias[0, 1, i, j] == -(place - j) / 256


def test_transformer_xl_adds_its_three_terms():
    b, h, length, num_keys, e = 2, 3, 4, 7, 2
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    part = TransformerXLBias(h * e, num_heads=h).double()
    for parameter in (part.content_bias, part.distance_bias):
        parameter.data.normal_(generator=generator)
    query = torch.randn(b, h, length, e, dtype=torch.float64, generator=generator)
    keys = torch.randn(b, h, num_keys, e, dtype=torch.float64, generator=generator)
    bias = part(query, keys)
    for i in range(length):
        for j in range(num_keys - length + i + 1):
            distance = torch.tensor([num_keys - length + i - j])
            table = part.distance_proj(sinusoids(distance, h * e, torch.float64)).view(h, e)
            q, k = query[:, :, i], keys[:, :, j]
            b_term = (q * table).sum(-1)
            c_term = (part.content_bias * k).sum(-1)
            d_term = (part.distance_bias * table).sum(-1)
            assert torch.allclose(bias[:, :, i, j], (b_term + c_term + d_term) / math.sqrt(e), atol=1e-12)


def test_distances_count_from_the_last_columns():
    assert key_distances(2, 4, torch.device("cpu")).tolist() == [[2, 1, 0, -1], [3, 2, 1, 0]]
