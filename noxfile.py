"""Sessions: `nox -s tests lint types bench mini gpu`. Each makes its own environment."""

import nox

nox.options.sessions = ["tests", "lint", "types"]
nox.options.reuse_existing_virtualenvs = True

SOURCES = ["uniwetok", "harness", "tasks", "reports", "tests", "benchmarks", "noxfile.py"]


@nox.session
def tests(session: nox.Session) -> None:
    """All fast tests on CPU; arguments go to pytest."""
    session.install(".[dev]")
    session.run("pytest", "-m", "not gpu and not slow", "-n", "2", *session.posargs)


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
    session.run("mypy", "harness", "tasks", "reports", "uniwetok")


@nox.session
def bench(session: nox.Session) -> None:
    """Measured tables: start-up, harness overhead, metrics beside their peers."""
    session.install(".[dev]")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def mini(session: nox.Session) -> None:
    """Small versions of the paper's Tables 1-5; arguments go to the command."""
    session.install(".[dev]")
    session.run("uwt-eval", "reproduce", "mini-ablations", *session.posargs)


@nox.session
def gpu(session: nox.Session) -> None:
    """Tests that need a CUDA device; fails where there is none."""
    session.install(".[dev]")
    session.run("python", "-c", "import torch; assert torch.cuda.is_available(), 'no CUDA device'")
    session.run("pytest", "-m", "gpu", *session.posargs)
