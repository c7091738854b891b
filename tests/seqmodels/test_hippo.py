import numpy as np
import pytest

from seqmodels.hippo import legs, legs_half_spectrum


def test_legs_of_three_polynomials_are_the_numbers_worked_out_by_hand():
    a, b, p = legs(3)
    np.testing.assert_allclose(a, [[-1, 0, 0], [-(3**0.5), -2, 0], [-(5**0.5), -(15**0.5), -3]], atol=1e-15)
    np.testing.assert_allclose(b, [1, 3**0.5, 5**0.5])
    np.testing.assert_allclose(p, [0.5**0.5, 1.5**0.5, 2.5**0.5])


def test_legs_plus_its_rank_one_part_is_minus_a_half_plus_a_skew_matrix():
    a, _, p = legs(7)
    rest = a + np.outer(p, p) + 0.5 * np.eye(7)
    np.testing.assert_allclose(rest, -rest.T, atol=1e-14)


def test_the_largest_frequency_of_64_numbers_is_the_known_one_and_every_real_part_a_half():
    eigenvalues = legs_half_spectrum(64).eigenvalues
    assert eigenvalues.shape == (32,)
    assert abs(eigenvalues.imag.max() - 1303.2738) < 1e-4
    assert np.all(eigenvalues.real == -0.5)
    assert np.all(np.diff(eigenvalues.imag) > 0)
    assert np.all(eigenvalues.imag > 0)


@pytest.mark.parametrize("d_state", [2, 22, 64])
def test_the_half_spectrum_answers_every_frequency_as_the_matrix_does(d_state):
    # Eigenvectors are unique up to a phase only: what they make of inputs is compared, P^T (s - A)^-1 B.
    a, b, p = legs(d_state)
    eigenvalues, half_p, half_b = legs_half_spectrum(d_state)
    for s in (0.3 + 0.0j, 1.0 + 5.0j, 0.1 - 80.0j):
        expected = p @ np.linalg.solve(s * np.eye(d_state) - a, b)
        poles = np.concatenate([eigenvalues, eigenvalues.conj()])
        column = np.concatenate([half_p, half_p.conj()])
        inputs = np.concatenate([half_b, half_b.conj()])
        matrix = s * np.eye(d_state) - np.diag(poles) + np.outer(column, column.conj())
        assert abs(column.conj() @ np.linalg.solve(matrix, inputs) - expected) < 1e-10 * abs(expected)


@pytest.mark.parametrize("d_state", [0, 7])
def test_a_state_that_does_not_fall_into_pairs_is_refused(d_state):
    with pytest.raises(ValueError, match=f"d_state must be a positive even number, got {d_state}"):
        legs_half_spectrum(d_state)
