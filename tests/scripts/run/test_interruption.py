"""Ctrl-C, by real signals."""

import io
import os
import signal
import sys
import threading
from typing import Any

import pytest

from scripts.run.interruption import Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_stops_nothing(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    with Interruption() as interruption:
        assert not interruption.requested
        os.kill(os.getpid(), number)
        assert interruption.requested
    assert "stopping at the next safe point and saving" in capfd.readouterr().err


def test_a_signal_in_the_middle_of_a_message_is_noted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, content: Any) -> int:
            if not interruption.requested:
                os.kill(os.getpid(), signal.SIGINT)
            return len(content)

    with Interruption() as interruption:
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BufferedWriter(Interrupting())))
        print("evaluation at step 33", file=sys.stderr, flush=True)
        assert interruption.requested


def test_the_second_signal_stops_at_once() -> None:
    with Interruption():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_afterwards_signals_do_what_they_did_before() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interruption():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_in_another_thread_it_does_nothing() -> None:
    errors: list[BaseException] = []

    def enter() -> None:
        try:
            with Interruption() as interruption:
                assert not interruption.requested
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert errors == []
