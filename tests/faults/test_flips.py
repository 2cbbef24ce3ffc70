"""One bit of any file flipped: the same result, or a refusal that names the file; no other number.

In turn, 20 bits of every file that a run, a cache or a training leaves, and the command again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CommandLine, CommandResult
from tests.damage import flips
from tests.uniwetok.test_commands import arguments as training
from uniwetok.train.engine.logs import read_log

PLACES = 20
Count = Callable[[str, str], None]


def files_below(*folders: Path) -> Iterator[Path]:
    """Every file that holds anything, locks aside: they are never read."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.stat().st_size and path.suffix != ".lock":
                yield path


def survive(
    command: Callable[[], CommandResult],
    result: Callable[[CommandResult], Any],
    files: list[Path],
    count: Callable[[str], None],
) -> None:
    """Flip bits of each file and run the command: the result of before, or one line and exit 2."""
    expected = result(command())
    for path in files:
        for place in flips(path, PLACES):
            done = command()
            if done.code == 0:
                assert result(done) == expected, (path, place)
                count("the same result")
            else:
                errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
                assert done.code == 2, (path, place, done.err)
                assert len(errors) == 1, (path, place, done.err)
                assert "Traceback" not in done.err
                count("refused by name")


def metrics_of(done: CommandResult) -> Any:
    assert done.code == 0, done.err
    return [record["metrics"] for record in done.records]


@pytest.mark.usefixtures("provide_weights")
def test_a_run_and_its_caches(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path, count: Count
) -> None:
    out = tmp_path / "runs"
    command = (
        "run", "imagenet-recon", "-m", "webp", "--data", photo_folder, "--limit", 4,
        "--metrics", "psnr,ssim,rfid,bpp", "--small-sets", "--out", out, "--json", "--quiet",
    )  # fmt: skip
    assert uwt_eval(*command).code == 0
    files = list(files_below(out, tmp_path / "cache"))
    kinds = {path.suffix for path in files}
    assert {".json", ".parquet", ".png", ".sqlite"} <= kinds
    survive(
        lambda: uwt_eval(*command),
        metrics_of,
        files,
        lambda outcome: count("bit flips in a run directory and its caches", outcome),
    )


def test_what_reports_read(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path, count: Count
) -> None:
    roots = []
    for model in ("webp", "jpeg"):
        out = tmp_path / model
        given = ("--data", photo_folder, "--metrics", "psnr,ssim", "--out", out)
        assert uwt_eval("run", "imagenet-recon", "-m", model, *given, "--quiet").code == 0
        roots += out.iterdir()
    baseline = tmp_path / "baseline.json"
    for command in (
        ("compare", *roots, "--json"),
        ("gate", roots[0], "--baseline", baseline, "--json"),
        ("score", roots[0], "--json"),
    ):
        if command[0] == "gate":
            assert uwt_eval(*command, "--update-baseline").code == 0
        files = [*roots[0].glob("*.json"), *roots[0].glob("*.parquet")]
        files += tmp_path.glob("baseline*") if command[0] == "gate" else ()
        survive(
            lambda command=command: uwt_eval(*command),
            lambda done: _without_times(json.loads(done.out)),
            files,
            lambda outcome: count("bit flips in what compare, gate and score read", outcome),
        )


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(each) for key, each in value.items() if key != "provenance"}
    return [_without_times(each) for each in value] if isinstance(value, list) else value


def test_checkpoints_of_training(
    uwt_eval: CommandLine, photo_folder: Path, tmp_path: Path, count: Count
) -> None:
    out = tmp_path / "trained"

    def train(steps: int) -> CommandResult:
        given = training(photo_folder, out, f"steps={steps}")
        return uwt_eval(*given, "--device", "cpu", "--quiet")

    assert train(4).code == 0
    folder = out / "checkpoints"
    files = sorted(folder.glob("*.pt"))
    assert [path.stem for path in files] == ["step-00000002", "step-00000004"]
    before, after = files
    kept = before.read_bytes()

    def go_on() -> CommandResult:
        for path in folder.iterdir():
            if path not in files:
                path.unlink()
        before.write_bytes(kept)
        return train(5)

    survive(
        go_on,
        lambda _: [(row["step"], row["loss"]) for row in read_log(out)],
        [after],
        lambda outcome: count("bit flips in checkpoints", outcome),
    )
