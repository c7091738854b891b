"""Shows how far a long command is: a bar on a terminal, a line now and then elsewhere."""

import io
import sys
import time
from collections.abc import Collection, Iterator
from itertools import product
from types import TracebackType
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

T = TypeVar("T")


class Progress:
    """Counts steps towards a total and shows steps/s, score and time left.

    On a terminal this is a bar that redraws itself; in a log file or a pipe, where a bar is noise, one line every
    `seconds_between_lines`. Steps done before a resume count as done, but not towards the speed.
    """

    def __init__(
        self,
        total_steps: int,
        *,
        first_step: int = 0,
        stream: TextIO | io.TextIOBase | None = None,
        seconds_between_lines: float = 30.0,
        unit: str = "steps",
    ) -> None:
        self._total_steps = total_steps
        self._first_step = first_step
        self._step = first_step
        self._unit = unit
        self._seconds_between_lines = seconds_between_lines
        self._stream: Any = stream if stream is not None else sys.stderr
        self._started = self._last_line = time.monotonic()
        self._figures: dict[str, float] = {}
        self._bar: tqdm[None] | None = None
        if self._stream.isatty():
            self._bar = tqdm(
                total=total_steps,
                initial=first_step,
                file=self._stream,
                unit=f" {unit}",
                unit_scale=True,
                dynamic_ncols=True,
                smoothing=0.05,
            )

    def update(self, step: int, **figures: float | None) -> None:
        """Moves to `step`, counted from the beginning of the run, and shows the figures.

        The last value of each figure stays until there is a new one; None is none.
        """
        advance, self._step = step - self._step, step
        self._figures.update({name: value for name, value in figures.items() if value is not None})
        if self._bar is not None:
            self._bar.set_postfix({name: f"{value:.4g}" for name, value in self._figures.items()}, refresh=False)
            self._bar.update(advance)
        elif time.monotonic() - self._last_line >= self._seconds_between_lines:
            self._write_line()

    def say(self, message: str) -> None:
        """Writes one line without breaking the bar."""
        if self._bar is not None:
            self._bar.write(message, file=self._stream)
        else:
            print(message, file=self._stream, flush=True)

    def close(self) -> None:
        """Ends the display on a line of its own."""
        if self._bar is not None:
            self._bar.close()
        elif self._step > self._first_step:
            self._write_line()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write_line(self) -> None:
        self._last_line = time.monotonic()
        elapsed = self._last_line - self._started
        speed = (self._step - self._first_step) / max(elapsed, 1e-9)
        left = (self._total_steps - self._step) / speed if speed > 0 else float("inf")
        left_text = tqdm.format_interval(left) if left < float("inf") else "?"
        figures = "".join(f", {name} {value:.4g}" for name, value in self._figures.items())
        share = self._step / max(self._total_steps, 1)
        done = f"{self._step:,}/{self._total_steps:,} {self._unit} ({share:.0%})"
        line = f"{done}, {speed:,.0f} {self._unit}/s{figures}, {left_text} left"
        print(line, file=self._stream, flush=True)


def in_turns(subjects: Collection[T], rounds: int) -> Iterator[T]:
    """Yields every subject once a round, so that slow minutes of the machine meet all, and shows how far it is."""
    with Progress(rounds * len(subjects), unit="measurements") as progress:
        for done, (_, subject) in enumerate(product(range(rounds), subjects), start=1):
            yield subject
            progress.update(done)
