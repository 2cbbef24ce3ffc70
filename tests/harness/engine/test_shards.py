"""A run in shards, merged: the bits of an undisturbed one, or one line that says what is amiss."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from harness.data.manifest import CPU_BLOCK
from harness.data.store import Store
from harness.engine.progress import Progress
from harness.engine.run_file import read_run_file
from harness.engine.runner import rescore
from harness.engine.shards import FinishedShard, MergedRun, merge, run_shard
from harness.engine.world import World
from harness.interfaces.errors import UserError
from harness.interfaces.types import RunStatus
from tests.conftest import CommandLine
from tests.harness.engine.test_runner import run
from tests.harness.toys import TILES, Control, fail_on_magenta, paint, request, result_of, rows_of

QUIET = Progress(Console(quiet=True))


def shard(tiles: Path, number: int, count: int = 2, **changes: Any) -> Path:
    """Do a shard, from 1, as on a machine of its own; its run directory."""
    return done(tiles, number, count, **changes).root


def done(tiles: Path, number: int, count: int = 2, **changes: Any) -> FinishedShard:
    out = tiles.parent / f"machine-{number}-of-{count}"
    asked = request(tiles, **{"out": out, **changes})
    finished = run_shard(asked, World(shard=number - 1, shards=count), QUIET)
    assert finished is not None
    return finished


def merged(tiles: Path, *roots: Path, data: str | None = None) -> MergedRun:
    return merge(roots, tiles.parent / "merged", data or str(tiles), QUIET)


def names_in(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("count", [2, 3, 7])
def test_merged_shards_are_the_run_itself(count: int, tiles: Path, control: Control) -> None:
    whole = run(request(tiles))
    control.forget()
    roots = [shard(tiles, number, count) for number in range(count, 0, -1)]
    assert control.encoded == TILES
    assert not any((root / "record.json").exists() for root in roots)
    both = merged(tiles, *roots)
    assert result_of(both.record) == result_of(whole.record)
    assert both.record.status is RunStatus.COMPLETE
    pd.testing.assert_frame_equal(rows_of(both.root), rows_of(whole.root), check_exact=True)
    assert names_in(both.root) == names_in(whole.root)
    assert (both.root / "grid.png").read_bytes() == (whole.root / "grid.png").read_bytes()
    assert len(both.record.provenance["shards"]) == count
    assert result_of(rescore(both.root)[0]) == result_of(whole.record)


def test_a_shard_does_its_blocks_and_says_so(tiles: Path, control: Control) -> None:
    first = done(tiles, 1)
    assert (first.title, first.n, first.n_run) == ("shard 1 of 2", 2 * CPU_BLOCK, TILES)
    assert control.encoded == 2 * CPU_BLOCK
    control.forget()
    assert done(tiles, 1) == first
    assert control.encoded == 0


def test_more_shards_than_blocks(tiles: Path, control: Control) -> None:
    assert done(tiles, 6, 6).n == 0
    assert control.loaded == 0


def test_shards_copied_into_one_folder(tiles: Path, control: Control) -> None:
    whole = run(request(tiles))
    first, second = shard(tiles, 1), shard(tiles, 2)
    shutil.copytree(second, first, dirs_exist_ok=True)
    assert result_of(merged(tiles, first).record) == result_of(whole.record)


def test_merging_into_one_of_the_shards(tiles: Path, control: Control) -> None:
    whole = run(request(tiles))
    first, second = shard(tiles, 1), shard(tiles, 2)
    both = merge([second, first, first], first.parent, str(tiles), QUIET)
    assert both.root == first
    assert result_of(both.record) == result_of(whole.record)
    control.forget()
    assert result_of(run(request(tiles, out=first.parent)).record) == result_of(whole.record)
    assert control.encoded == 0, "the run without --shard finds all done"


def test_shards_that_overlap(tiles: Path, control: Control) -> None:
    """Machines came and went: halves first, then thirds."""
    whole = run(request(tiles))
    roots = [shard(tiles, 1), shard(tiles, 2, 3), shard(tiles, 3, 3), shard(tiles, 1, 3)]
    assert result_of(merged(tiles, *roots).record) == result_of(whole.record)


def test_a_cut_shard_goes_on(tiles: Path, control: Control) -> None:
    whole = run(request(tiles))
    seen: list[Any] = []

    def stop(image: Any) -> None:
        seen.append(image)
        if len(seen) == CPU_BLOCK + 2:
            raise KeyboardInterrupt

    control.before_encode = stop
    with pytest.raises(KeyboardInterrupt):
        shard(tiles, 1)
    control.forget()
    roots = [shard(tiles, 1), shard(tiles, 2)]
    assert result_of(merged(tiles, *roots).record) == result_of(whole.record)


def test_what_is_missing_is_named_with_its_command(
    tiles: Path, control: Control, uwt_eval: CommandLine
) -> None:
    given = ("--data", tiles, "-m", "toy", "--metrics", "psnr", "--device", "cpu")
    for number in (2, 4):
        command = ("run", "imagenet-recon-native", *given, "--shard", f"{number}/4", "--quiet")
        result = uwt_eval(*command, "--out", tiles.parent / f"{number}")
        assert result.code == 0, result.err
        assert f"shard {number} of 4 finished: " in result.out
        assert "`uwt-eval merge`" in result.out
    roots = [*tiles.parent.glob("[24]/*")]
    refused = uwt_eval("merge", *roots, "--out", tiles.parent / "merged")
    assert refused.code == 2
    assert "8 of 14 samples are in none of these directories: `uwt-eval run" in refused.err
    assert "--shard 1/4` (and 3/4) makes them" in refused.err
    assert not (tiles.parent / "merged").exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed 1, not 0"),
        ({"model": "toy?noise=0.2"}, "model toy"),
        ({"protocol": "wetok"}, "protocol wetok"),
        ({"limit": 9}, "data 9 samples"),
        ({"task": "coco-recon-native"}, "task coco-recon-native"),
        ({"metrics": ("psnr",)}, "metrics psnr, not bpp,psnr"),
        ({"max_failures": 2}, "--max-failures 2, not 0"),
        ({"small_sets": True}, "--small-sets True, not False"),
    ],
    ids=str,
)
def test_another_run_is_refused_by_what_differs(
    changes: dict[str, Any], named: str, tiles: Path, control: Control
) -> None:
    roots = [shard(tiles, 1), shard(tiles, 2, **changes)]
    with pytest.raises(UserError, match=f"is of another run than .*: .*{re.escape(named)}"):
        merged(tiles, *roots)


def test_another_run_in_the_way_is_told_with_the_way_out(tiles: Path, control: Control) -> None:
    roots = [shard(tiles, 1), shard(tiles, 2)]
    there = merged(tiles, *roots).root
    file = read_run_file(there)
    file.provenance["packages"].update(torch="1.0")
    Store(there).write_record("run.json", file)
    with pytest.raises(UserError, match=r"package torch .*; give another --out$"):
        merged(tiles, *roots)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda facts: facts["packages"].update(torch="1.0"), "package torch 1.0, not "),
        (lambda facts: facts.update(code={"commit": "f" * 40}), f"commit {'f' * 12}, not "),
        (lambda facts: facts["machine"].update(device="cuda:3"), "device cuda, not cpu"),
    ],
)
def test_other_versions_are_refused(
    change: Callable[[dict[str, Any]], None], named: str, tiles: Path, control: Control
) -> None:
    roots = [shard(tiles, 1), shard(tiles, 2)]
    file = read_run_file(roots[1])
    change(file.provenance)
    Store(roots[1]).write_record("run.json", file)
    with pytest.raises(UserError, match=named):
        merged(tiles, *roots)


def test_other_content_is_refused(tiles: Path, control: Control) -> None:
    first = shard(tiles, 1)
    paint(tiles / "tile_05.png")
    with pytest.raises(UserError, match="data 14 samples"):
        merged(tiles, first, shard(tiles, 2))


def test_a_block_that_differs_is_refused(tiles: Path, control: Control) -> None:
    roots = [shard(tiles, 1), shard(tiles, 1, out=tiles.parent / "again"), shard(tiles, 2)]
    store = Store(roots[1])
    (part,) = (roots[1] / "observations" / "pixels").glob("000002-*")
    key = part.stem.partition("-")[2]
    table = store.read_part("observations/pixels", 2, key, CPU_BLOCK)
    assert table is not None
    at = table.column_names.index("psnr")
    store.write_part(
        "observations/pixels", 2, key, table.set_column(at, "psnr", [[1.0] * CPU_BLOCK])
    )
    with pytest.raises(UserError, match=r"000002-\w+.parquet are not the same: remove the one"):
        merged(tiles, *roots)
    part.unlink()
    assert merged(tiles, *roots).record.value("psnr") != 1.0


def test_a_failure_that_may_pass_gives_way(tiles: Path, control: Control) -> None:
    paint(tiles / "tile_05.png")
    whole = run(request(tiles))
    control.before_encode = fail_on_magenta
    failed = done(tiles, 2)
    assert not failed.complete
    assert failed.first_errors[0].startswith("tile_05.png: model_error: ")
    with_it = merged(tiles, failed.root, shard(tiles, 1))
    assert with_it.record.failures == {"model_error": 1}
    control.forget()
    better = shard(tiles, 2, out=tiles.parent / "again")
    assert result_of(merged(tiles, failed.root, better).record) == result_of(whole.record)


def test_a_damaged_part_counts_as_missing(
    tiles: Path, control: Control, caplog: pytest.LogCaptureFixture
) -> None:
    roots = [shard(tiles, 1), shard(tiles, 2)]
    (part,) = (roots[1] / "outputs").glob("000003-*")
    part.write_bytes(part.read_bytes()[:-30])
    with pytest.raises(UserError, match="2 of 14 samples are in none"):
        merged(tiles, *roots)
    again = shard(tiles, 2, out=tiles.parent / "again")
    assert merged(tiles, *roots, again).record.n_failed == 0


def test_folders_that_cannot_be_merged(tiles: Path, control: Control, tmp_path: Path) -> None:
    first, second = shard(tiles, 1), shard(tiles, 2)
    with pytest.raises(UserError, match="is not a run directory: it has no"):
        merged(tiles, first, second.parent)
    with pytest.raises(UserError, match="is not a run directory"):
        merged(tiles, tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        UserError, match=f"cannot write {tmp_path / 'file'}: .*is a file, no folder"
    ):
        merge([first, second], tmp_path / "file", str(tiles), QUIET)
    with Store(second).locked(), pytest.raises(UserError, match="is in use by another run"):
        merged(tiles, first, second)
    assert not (tiles.parent / "merged").exists()


def test_without_the_data_there_is_the_result_alone(
    tiles: Path, control: Control, uwt_eval: CommandLine
) -> None:
    whole = run(request(tiles))
    roots = [shard(tiles, 1), shard(tiles, 2)]
    hidden = tiles.rename(tiles.parent / "elsewhere")
    out = ("--out", tiles.parent / "merged", "--json")
    result = uwt_eval("merge", *roots, *out)
    assert result.code == 0, result.err
    assert "the run's data are not here, so there is no grid.png" in " ".join(result.err.split())
    assert result.records[0]["metrics"] == result_of(whole.record)["metrics"]
    paint(hidden / "tile_05.png")
    other = uwt_eval("merge", *roots, *out, "--data", hidden)
    assert other.code == 2
    assert "not the data of this run" in other.err
    shutil.copyfile(hidden / "tile_05.png", hidden / "more.png")
    assert "not the data of this run" in uwt_eval("merge", *roots, *out, "--data", hidden).err


def test_where_the_data_are_the_run_writes_the_rest(
    tiles: Path, control: Control, uwt_eval: CommandLine
) -> None:
    roots = [shard(tiles, 1), shard(tiles, 2)]
    uwt_eval("merge", *roots, "--out", tiles.parent / "merged")
    control.forget()
    finished = run(request(tiles, out=tiles.parent / "merged"))
    assert (finished.root / "grid.png").is_file()
    assert control.encoded == 0


def test_a_dry_run_says_the_share(tiles: Path, control: Control, uwt_eval: CommandLine) -> None:
    shard(tiles, 1)
    command = (
        *("run", "imagenet-recon-native", "-m", "toy", "--protocol", "exact", "--device", "cpu"),
        *("--metrics", "bpp,psnr,ssim,usage_pooled,usage_joint", "--data", tiles, "--dry-run"),
        *("--out", tiles.parent / "machine-1-of-2"),
    )
    told = uwt_eval(*command, "--shard", "2/2").out
    assert "shard 2 of 2: 6 of 14 samples, 6 still to do" in " ".join(told.split())
    (plan,) = uwt_eval(*command, "--shard", "1/2", "--json").records
    assert (plan["n"], plan["n_run"], plan["n_missing"]) == (8, TILES, 0)
