"""Sessions: `nox -s tests slow faults lint types docs tested lowest newest bench mini gpu browser`.

Each makes its own environment.
"""

import os
import re
import shutil
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.options.sessions = ["tests", "lint", "types"]
nox.options.reuse_existing_virtualenvs = True

PACKAGES = ["uwt_eval", "uniwetok", "harness", "tasks", "reports", "uwt_images"]
SOURCES = [*PACKAGES, "tests", "benchmarks", "docs/hooks.py", "noxfile.py"]

FAST = ["-m", "not gpu and not slow and not browser and not faults", "-n", "2"]
# Neighbours go to one worker, which makes what a module's tests share; who is done takes a share of
# the other's.
FAST += ["--dist", "worksteal"]
# Three passes, for memory: a worker that ran every test would hold most, here 2.3 GB at its peak.
PASSES = [
    ["tests/uniwetok/train"],
    ["tests/uniwetok", "--ignore=tests/uniwetok/train"],
    ["tests", "--ignore=tests/uniwetok"],
]
# Two workers of as many threads as there are cores wait for each other more than they work. The
# processes that tests start compile the code once, not each of them anew.
ONE_THREAD = {
    "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    "PYTHONDONTWRITEBYTECODE": "",
}

# Every direct dependency at work: a run from images to a record, the metrics' networks, readers of
# data, transformers and open_clip models, training, judges, lmms-eval, reports.
SMOKE = [
    "tests/test_versions.py",
    "tests/e2e/test_network_metrics.py",
    "tests/e2e/test_vqa.py",
    "tests/harness/baselines",
    "tests/harness/test_cli.py",
    "tests/harness/data/test_sources.py",
    "tests/harness/engine/test_observed.py",
    "tests/harness/engine/test_runner.py",
    "tests/harness/judges",
    "tests/harness/metrics/test_inception.py",
    "tests/harness/metrics/test_inception_score.py",
    "tests/harness/metrics/test_lpips.py",
    "tests/harness/metrics/test_pixel.py",
    "tests/harness/metrics/test_resize.py",
    "tests/harness/metrics/test_stats.py",
    "tests/reports/figures",
    "tests/reports/tables",
    "tests/tasks/geneval/test_detector.py",
    "tests/tasks/text",
    "tests/tasks/vqa",
    "tests/tasks/zeroshot",
    "tests/uniwetok/losses/test_teachers.py",
    "tests/uniwetok/mllm",
    "tests/uniwetok/plugins",
    "tests/uniwetok/tokenizer",
    "tests/uniwetok/train/ar/test_run.py",
    "tests/uniwetok/train/data",
    "tests/uniwetok/train/engine",
    "tests/uniwetok/train/mllm/test_run.py",
]


@nox.session
def tests(session: nox.Session) -> None:
    """All fast tests on CPU, in three passes; arguments go to pytest, in one."""
    session.install(".[dev,vqa,cjk]")
    _fast(session)


@nox.session
def slow(session: nox.Session) -> None:
    """The tests that take longer than half a minute or a GiB; arguments go to pytest."""
    session.install(".[dev,vqa]")
    session.run("pytest", "-m", "slow and not gpu and not browser", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Kills, flipped bits and hostile files, counted: the figures of docs/reliability.md."""
    session.install(".[dev,vqa]")
    session.run("pytest", "tests/faults", *session.posargs)


@nox.session
def tested(session: nox.Session) -> None:
    """All fast tests with the newest versions; if green, write them to constraints/tested.txt."""
    session.install("--upgrade", "--upgrade-strategy", "eager", ".[dev,vqa,mini,faces,cjk]")
    _fast(session)
    frozen = session.run("python", "-m", "pip", "freeze", "--exclude", "uwt-eval", silent=True)
    pins = [re.sub(r"\+\S+$", "", pin) for pin in str(frozen).splitlines()]  # torch==2.14.1+cpu
    marked = [f"{pin}; sys_platform == 'linux'" if CUDA.match(pin) else pin for pin in pins]
    Path("constraints/tested.txt").write_text("\n".join([HEADER, *marked, ""]))


CUDA = re.compile("cuda-|nvidia-|triton=")
HEADER = "# Versions with which all fast tests passed; written by `nox -s tested`."


@nox.session
def lowest(session: nox.Session) -> None:
    """A choice of tests with the lowest declared version of every direct dependency."""
    _smoke(session, "lowest-direct")


@nox.session
def newest(session: nox.Session) -> None:
    """The same with the newest versions, no pre-releases."""
    _smoke(session, "highest")


def _fast(session: nox.Session) -> None:
    failed = False
    for arguments in [session.posargs] if session.posargs else PASSES:
        try:
            session.run("pytest", *FAST, *arguments, env=ONE_THREAD)
        except CommandFailed:
            failed = True  # the others still say what fails there
    if failed:
        session.error("some tests failed")


def _smoke(session: nox.Session, resolution: str) -> None:
    session.install("uv>=0.6")
    how = ["--upgrade", "--prerelease", "disallow", "--resolution", resolution]
    session.run("uv", "pip", "install", *how, ".[dev,vqa]")
    session.run("pytest", *FAST, *(session.posargs or SMOKE), env=ONE_THREAD)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and formatting."""
    session.install("ruff>=0.12")
    session.run("ruff", "check", *SOURCES)
    session.run("ruff", "format", "--check", *SOURCES)


@nox.session
def types(session: nox.Session) -> None:
    """Types: strict in the harness, plain elsewhere."""
    session.install(".[dev]")
    session.run("mypy", *PACKAGES)


@nox.session
def docs(session: nox.Session) -> None:
    """The documents as a site, into build/site; what does not fit stops it."""
    session.install(".[dev]")
    session.run("mkdocs", "build", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def bench(session: nox.Session) -> None:
    """Measured tables: start-up, harness overhead, metrics beside their peers."""
    session.install(".[dev]")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def mini(session: nox.Session) -> None:
    """Small versions of the paper's Tables 1-5, or with `-- mllm` of its multimodal model.

    Further arguments go to the command.
    """
    session.install(".[dev,mini]")
    arguments = list(session.posargs)
    which = f"mini-{arguments.pop(0)}" if arguments[:1] == ["mllm"] else "mini-ablations"
    session.run("uwt-eval", "reproduce", which, *arguments)


@nox.session
def gpu(session: nox.Session) -> None:
    """Tests that need a CUDA device, then its benchmark; fails where there is none."""
    session.install(".[dev,vqa]")
    session.run("python", "-c", "import torch; assert torch.cuda.is_available(), 'no CUDA device'")
    session.run("pytest", "-m", "gpu", *session.posargs)
    session.run("python", "-m", "benchmarks", "gpu")


@nox.session
def browser(session: nox.Session) -> None:
    """Tests of the HTML pages in headless Chromium, an installed one if there is one."""
    session.install(".[dev]", "playwright>=1.50")
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        session.run("playwright", "install", "--with-deps", "chromium")
    session.run("pytest", "-m", "browser", *session.posargs)
