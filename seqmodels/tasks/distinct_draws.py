"""Drawing without replacement, for every row of a batch at once."""

import numpy as np
from jaxtyping import Float, Int64


def distinct_draws(
    generator: np.random.Generator,
    num_rows: int,
    num_draws: int,
    *,
    population: int,
    weights: Float[np.ndarray, " population"] | None = None,
) -> Int64[np.ndarray, "num_rows num_draws"]:
    """Returns, for every row, `num_draws` different integers below `population`, in the order in which they came.

    With `weights`, each draw takes one of those that are left in proportion to its weight. Exponential times divided by
    the weights arrive in just that order (Efraimidis and Spirakis 2006), so the smallest of them are the answer.
    """
    if not 1 <= num_draws <= population:
        raise ValueError(f"num_draws must be between 1 and the population of {population}, got {num_draws}")
    if weights is None:
        arrival = generator.random((num_rows, population), dtype=np.float32)
    else:
        arrival = generator.exponential(size=(num_rows, population)) / weights
    # Sorting only the first to arrive: in a large population that is most of the time.
    first = np.argpartition(arrival, num_draws - 1, axis=1)[:, :num_draws]
    order = np.argsort(np.take_along_axis(arrival, first, axis=1), axis=1)
    return np.take_along_axis(first, order, axis=1)
