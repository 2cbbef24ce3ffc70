"""Sessions: `nox -s tests lint types bench mini gpu browser`. Each makes its own environment."""

import shutil

import nox

nox.options.sessions = ["tests", "lint", "types"]
nox.options.reuse_existing_virtualenvs = True

PACKAGES = ["uwt_eval", "uniwetok", "harness", "tasks", "reports"]
SOURCES = [*PACKAGES, "tests", "benchmarks", "noxfile.py"]


@nox.session
def tests(session: nox.Session) -> None:
    """All fast tests on CPU; arguments go to pytest."""
    session.install(".[dev,vqa]")
    session.run("pytest", "-m", "not gpu and not slow and not browser", "-n", "2", *session.posargs)


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
    """Tests that need a CUDA device; fails where there is none."""
    session.install(".[dev]")
    session.run("python", "-c", "import torch; assert torch.cuda.is_available(), 'no CUDA device'")
    session.run("pytest", "-m", "gpu", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """Tests of the HTML pages in headless Chromium, an installed one if there is one."""
    session.install(".[dev]", "playwright>=1.50")
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        session.run("playwright", "install", "--with-deps", "chromium")
    session.run("pytest", "-m", "browser", *session.posargs)
