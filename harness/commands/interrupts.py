"""Ctrl-C: a word at once, an end within seconds or after a step; at the second one at once."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, NoReturn

from harness.interfaces.errors import ExitCode, UserError

if TYPE_CHECKING:
    from harness.engine.world import World

GRACE = 1.0
"""Seconds that the work under way has to come to an end."""
_LOOK_EVERY = 0.5
"""Seconds between looks at whether torchrun is still there."""
_BEGINS_AGAIN = frozenset({"score", "merge", "calibrate", "chat", "generate", "edit", "sample"})
"""Commands that keep nothing of what they had begun."""
_SHOW_CURSOR = "\x1b[?25h"


_SAID = threading.Lock()
"""Taken by who says first that the command is interrupted: a plug-in may raise it once more."""


class CtrlC(KeyboardInterrupt):
    """What the first SIGINT raises: a thread answers it, unlike what a plug-in raises."""


@contextlib.contextmanager
def interruptible(command: str = "") -> Iterator[threading.Event]:
    """Within, the first SIGINT is answered and gets `GRACE` seconds, a second one ends the process.

    Python itself hears a signal only between two bytecodes of the main thread, which may be deep in
    a matrix product or waiting for threads that have no end. A thread of ours is told by the
    interpreter's C handler instead. All that is kept is written whole or not at all, so that an end
    in the middle loses the work under way and nothing else.

    Args:
        command: Which one it is, for the answer says what the same one does another time.

    Yields:
        an event that is set from the first SIGINT on.
    """
    heard = threading.Event()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        launcher = os.getppid()
        threading.Thread(target=_end_with, args=(launcher,), name="launcher", daemon=True).start()
    unasked = signal.getsignal(signal.SIGINT) is not signal.default_int_handler  # As under nohup.
    if unasked or threading.current_thread() is not threading.main_thread():
        yield heard
        return
    ours, waker = socket.socketpair()
    waker.setblocking(False)
    before = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    first = iter([CtrlC])

    def interrupt(*_: object) -> None:
        """Raise once: a second time, our thread ends the process, and nothing else may go wrong."""
        for error in first:
            raise error

    signal.signal(signal.SIGINT, interrupt)
    main_process = os.getpid()
    if hasattr(os, "register_at_fork"):
        # A worker process shares the socket and is hit by the same Ctrl-C: it is not to speak here.
        os.register_at_fork(after_in_child=lambda: _forget(main_process, waker))
    threading.Thread(
        target=_listen, args=(ours, heard, command), name="interrupts", daemon=True
    ).start()
    try:
        yield heard
    finally:
        if next(first, None) is None:
            # All is put away. The interpreter's own end would wait for threads, tear down torch and
            # stop our thread, which could then end nothing.
            heard.wait()
            _end()
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        waker.close()


@contextlib.contextmanager
def stoppable(notice: str) -> Iterator[Callable[[], bool]]:
    """Within, the first SIGINT or SIGTERM is answered and left to the work, which looks for it.

    For work that comes to a good place by itself, such as the end of a step. A second SIGINT ends
    the process at once; a second SIGTERM does not, since Slurm's may reach us through torchrun too.

    Args:
        notice: the line that answers; '' is silent.

    Yields:
        Says whether a signal has been heard.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    # A SIGINT that is ignored, as under nohup, stays so.
    wanted = {
        number
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    heard = threading.Event()
    ours, waker = socket.socketpair()
    waker.setblocking(False)
    wakeup = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda *_: None) for number in wanted}
    main_process = os.getpid()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _forget(main_process, waker))

    def listen() -> None:
        if _told(ours, wanted):
            _say(notice)
            heard.set()
            # torchrun, in the same terminal, passes each Ctrl-C on: one more of each.
            more = 2 if "TORCHELASTIC_RUN_ID" in os.environ else 1
            if all(_told(ours, {signal.SIGINT}) for _ in range(more)):
                _end()
        ours.close()

    threading.Thread(target=listen, name="stops", daemon=True).start()
    try:
        yield heard.is_set
    finally:
        # The listener first: a SIGINT in between is told to the one that ends the command.
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for number, handler in before.items():
            signal.signal(number, handler)
        waker.close()


@contextlib.contextmanager
def stopped_with(world: World) -> Iterator[None]:
    """Within, the SIGTERM that torchrun sends to the rest where a process is lost gets a word.

    One of the processes says it. All that is kept is written whole or not at all, as for SIGINT.
    """

    def stop(*_: object) -> None:
        if world.speaks():
            from harness.engine.processes import LOST

            _say(f"error: {LOST}\n")
        _end()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except UserError:
        # It ends with a word of its own, which a process that ended sooner must not cut off.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise
    signal.signal(signal.SIGTERM, before)


def say_interrupted(command: str, more: str = "") -> None:
    """Say, once, that a command is interrupted, and what the same one does another time."""
    then = "begins again" if command in _BEGINS_AGAIN else "resumes"
    if _SAID.acquire(blocking=False):
        _say(f"\ninterrupted: the same command {then}{more}\n")


def _forget(main_process: int, waker: socket.socket) -> None:
    if os.getpid() != main_process and waker.fileno() != -1:
        signal.set_wakeup_fd(-1)


def _listen(ours: socket.socket, heard: threading.Event, command: str) -> None:
    """Wait for signals until the other side is closed."""
    if not _told(ours, {signal.SIGINT}):
        ours.close()
        return
    say_interrupted(command, " (Ctrl-C again ends it at once)")
    heard.set()
    ours.settimeout(GRACE)
    with contextlib.suppress(TimeoutError):
        _told(ours, {signal.SIGINT})
    _end()


def _told(ours: socket.socket, wanted: Collection[int]) -> bool:
    """Wait for one of some signals; False where the other side is closed before."""
    while received := ours.recv(1):
        if received[0] in wanted:
            return True
    return False


def _end_with(launcher: int) -> None:
    """End once torchrun, killed, has left its workers alone: they would wait for each other."""
    while os.getppid() == launcher:
        time.sleep(_LOOK_EVERY)
    _end()


def _end() -> NoReturn:
    for child in multiprocessing.active_children():
        child.kill()
    if sys.stderr.isatty():
        _say(_SHOW_CURSOR)  # A progress bar hides it, and may have had no time to bring it back.
    os._exit(ExitCode.INTERRUPTED)


def _say(text: str) -> None:
    """Write past all buffers and locks, which the interrupted threads may hold."""
    with contextlib.suppress(OSError, ValueError):
        os.write(sys.stderr.fileno(), text.encode())
