"""Interruptions: Ctrl-C and SIGTERM end a command in order, with what is kept and how to go on.

A signal raises `Interrupted` in the main thread, wherever that is. It is no Exception, so that only clean-up code meets
it on its way to `main`, which prints the note of the innermost `interruptible` block.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOTHING = "nothing was changed; start the same command again"
"""The note of a command that has no other: one that only reads, or that has not begun yet."""
AGAIN_S = 0.02
"""Until a signal that Python swallowed is raised again."""

_notes: list[Callable[[], str]] = []


class Interrupted(BaseException):
    """A signal asked this process to end.

    Attributes:
        number: the signal's.
        note: what is kept, and how to go on, as of that moment.
    """

    def __init__(self, number: int, note: str) -> None:
        super().__init__(number, note)
        self.number = number
        self.note = note


@contextmanager
def interruptible(note: Callable[[], str] | str) -> Iterator[None]:
    """Say what is kept and how to go on if the block is interrupted; a function is called at that moment."""
    _notes.append(note if callable(note) else lambda: note)
    try:
        yield
    finally:
        _notes.pop()


def take_signals() -> None:
    """Let both signals raise `Interrupted`, once: what cleans up after the first one is not interrupted again."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    signal.signal(signal.SIGALRM, _interrupt_again)
    sys.unraisablehook = _raise_later


def interruption() -> Interrupted | None:
    """Return the interruption of this process, if a signal came.

    An error that comes after it is its consequence: a native library that is just being loaded, say, makes an
    ImportError of it.
    """
    return _raised


def ignore_signals() -> None:
    """Let no signal interrupt what this process has left to do: to clean up, or to end."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def end(interrupted: Interrupted, program: str) -> None:
    """Print the note and end this process with 128 + the signal's number, as a shell does.

    Threads that still fetch a photo are not waited for.
    """
    sys.stdout.flush()
    os.write(2, f"\n{program}: interrupted: {interrupted.note}\n".encode())
    os._exit(128 + interrupted.number)


def _interrupt(number: int, _frame: object) -> None:
    ignore_signals()
    global _raised
    _raised = Interrupted(number, _notes[-1]() if _notes else NOTHING)
    raise _raised


_raised: Interrupted | None = None


def _raise_later(unraisable: Any) -> None:
    """Python drops what is raised in a destructor or a callback. An interruption must not be lost there."""
    if isinstance(unraisable.exc_value, Interrupted):
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
    else:
        sys.__unraisablehook__(unraisable)


def _interrupt_again(_number: int, _frame: object) -> None:
    if _raised is not None:
        raise _raised
