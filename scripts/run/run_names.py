"""Short names for runs, in tables and figures."""

from collections.abc import Sequence
from pathlib import Path


def distinct_names(runs: Sequence[Path]) -> list[str]:
    """Returns each run's last folder; of those that share it, with as many folders above as tell them apart."""

    def name(run: Path) -> str:
        others = [other.parts for other in runs if other != run]
        for count in range(1, len(run.parts)):
            if all(other[-count:] != run.parts[-count:] for other in others):
                return str(Path(*run.parts[-count:]))
        return str(run)

    return [name(run) for run in runs]
