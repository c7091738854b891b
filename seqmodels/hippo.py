"""HiPPO-LegS, the recurrence whose state holds a whole history in Legendre polynomials, in the forms S4 computes with.

Glossary: N is the size of the state; A (N, N), B (N) are the matrix and the input column of x' = A x + B u.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Complex128, Float64


class Legs(NamedTuple):
    """x' = A x + B u for Legendre polynomials scaled with time, and the column P with A + P P^T = -1/2 I + skew."""

    a: Float64[np.ndarray, "n n"]
    b: Float64[np.ndarray, " n"]
    p: Float64[np.ndarray, " n"]


class HalfSpectrum(NamedTuple):
    """The same system in the basis where A = diag(eigenvalues) - p p^*, one of each conjugate pair of coordinates.

    The basis is unitary. The coordinates left out are the conjugates of these, as long as inputs are real.
    """

    eigenvalues: Complex128[np.ndarray, " half"]  # real part exactly -1/2, imaginary parts positive and rising
    p: Complex128[np.ndarray, " half"]
    b: Complex128[np.ndarray, " half"]


def legs(d_state: int) -> Legs:
    """Returns HiPPO-LegS (Gu et al. 2020, theorem 2; P from Gu et al. 2022, appendix C.1)."""
    odd = 2.0 * np.arange(d_state) + 1.0
    root = np.sqrt(odd)
    a = -np.tril(root[:, None] * root[None, :], k=-1) - np.diag(np.arange(1.0, d_state + 1.0))
    return Legs(a, root, np.sqrt(odd / 2.0))


def legs_half_spectrum(d_state: int) -> HalfSpectrum:
    """Returns HiPPO-LegS as a diagonal minus a matrix of rank 1, computed in float64.

    Raises:
        ValueError: `d_state` is odd or not positive: its eigenvalues would not fall into conjugate pairs.
    """
    if d_state < 2 or d_state % 2 != 0:
        raise ValueError(f"d_state must be a positive even number, got {d_state}")
    a, b, p = legs(d_state)
    skew = a + np.outer(p, p) + 0.5 * np.eye(d_state)
    # -i times a skew-symmetric matrix is Hermitian: eigh gives orthonormal vectors, which `eig` does not promise, and
    # eigenvalues that are imaginary to the last bit. It sorts them upwards, so the positive ones are the upper half.
    frequencies, vectors = np.linalg.eigh(-1j * skew)
    half = d_state // 2
    basis = vectors[:, half:].conj().T
    return HalfSpectrum(-0.5 + 1j * frequencies[half:], basis @ p, basis @ b)
