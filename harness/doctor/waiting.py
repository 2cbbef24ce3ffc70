"""What takes its time, a question to another process or an endpoint: asked side by side."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from harness.doctor import judge
from harness.doctor.finding import Finding
from harness.interfaces.errors import UserError
from harness.interfaces.registry import CHECKS


@contextmanager
def asked(*, quick: bool) -> Iterator[Iterator[Finding]]:
    """Ask the endpoint and make the checks of plug-ins meanwhile; give what is found, in order.

    Args:
        quick: Ask nothing and find nothing.
    """
    if quick:
        yield iter(())
        return
    names = CHECKS.names()
    for name in names:
        with suppress(UserError):  # Imported here: threads that import at once meet half-made ones.
            CHECKS.get(name)
    with ThreadPoolExecutor(max_workers=len(names) + 1) as pool:
        waiting = [pool.submit(_check, name) for name in names]
        waiting.append(pool.submit(lambda: list(judge.find())))
        yield (finding for each in waiting for finding in each.result())


def _check(name: str) -> list[Finding]:
    """Run a plug-in's check; where it raises, that is a finding."""
    found: list[Finding] = []
    try:
        for finding in CHECKS.get(name)():
            found.append(finding)
    except (Exception, SystemExit) as error:  # A stranger's must not end the doctor.
        text = f"the check cannot be made: {type(error).__name__}: {error}"
        fix = "mend or remove the package that offers the check"
        found.append(Finding(name, "error", text, fix))
    return found
