"""Ctrl-C ends processes whose main thread does not hear it, and whose threads have no end."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from harness.commands.interrupts import interruptible

SETUP = """
import hashlib, signal, sys, time
# Where the tests run in the background, their children do not listen to Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
from concurrent.futures import ThreadPoolExecutor
from harness.cli import main
from harness.interfaces.registry import COMMANDS

def busy_threads():
    with ThreadPoolExecutor(1) as pool:
        print("ready", flush=True)
        pool.submit(time.sleep, 1000).result()

def deaf_main():
    # Like a long matrix product: the interpreter's lock is free, and no bytecode runs.
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"word", b"salt", 2**31 - 1)

def swallowed():
    print("ready", flush=True)
    while True:
        try:
            time.sleep(1000)
        except KeyboardInterrupt:
            pass

def raised():
    with ThreadPoolExecutor(1) as pool:
        pool.submit(exec, "raise KeyboardInterrupt").result()

COMMANDS._registered["stuck"] = {}
sys.argv = ["uwt-eval", "stuck"]
main()
"""


@pytest.mark.parametrize("command", ["busy_threads", "deaf_main", "swallowed"])
@pytest.mark.parametrize("times", [1, 2])
def test_the_process_ends_with_a_line(command: str, times: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SETUP.replace("{}", command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    lines = process.stderr.readline() + process.stderr.readline()
    assert lines == "\ninterrupted: the same command resumes (Ctrl-C again ends it at once)\n"
    if times == 2:
        process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert "interrupted" not in process.stderr.read()


def test_what_a_plug_in_raises_is_answered_as_ctrl_c_is() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SETUP.replace("{}", "raised")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "\ninterrupted: the same command resumes\n")


def test_a_command_that_keeps_nothing_says_that_it_begins_again() -> None:
    process = started("", KEEPS_NOTHING)
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert "interrupted: the same command begins again (Ctrl-C" in process.stderr.read()


def test_nothing_is_left_behind_where_nothing_happens() -> None:
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    with interruptible() as interrupted:
        pass
    assert not interrupted.is_set()
    after = signal.set_wakeup_fd(before)
    signal.signal(signal.SIGINT, handler)
    assert after == before


STOPPABLE = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from harness.commands.interrupts import interruptible, stoppable

with interruptible():
    with stoppable("stopping\\n") as told:
        print("ready", flush=True)
        while not told():
            time.sleep(0.01)
        print("told", flush=True)
        if sys.argv[1] == "works on":
            time.sleep(1000)
    print("over", flush=True)
    time.sleep(1000)
"""


KEEPS_NOTHING = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from harness.commands.interrupts import interruptible

with interruptible("score"):
    print("ready", flush=True)
    time.sleep(1000)
"""


def started(how: str, code: str = STOPPABLE) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_work_that_stops_by_itself_is_told_and_ctrl_c_ends_what_follows(number: int) -> None:
    process = started("stops")
    assert process.stdout is not None
    assert process.stderr is not None
    process.send_signal(number)
    assert process.stderr.readline() == "stopping\n"
    assert [process.stdout.readline() for _ in range(2)] == ["told\n", "over\n"]
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert "interrupted" in process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_ends_work_that_goes_on(number: int) -> None:
    process = started("works on")
    assert process.stdout is not None
    process.send_signal(number)
    assert process.stdout.readline() == "told\n"
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
