"""Bad input: one clear line that names the thing and the fix, exit code 2, nothing lost."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from harness.data import store
from tests.conftest import CommandLine, CommandResult


def assert_one_clear_line(result: CommandResult, *texts: str) -> None:
    assert result.code == 2, (result.code, result.err)
    # Where the work had begun, a line has said so.
    lines = [line for line in result.err.splitlines() if line and not line.startswith("note: ")]
    errors = [line for line in lines if not line.endswith("at the start")]
    assert len(errors) == 1, result.err
    assert errors[0].startswith("error: ")
    for text in texts:
        assert text in errors[0]


def test_missing_data_folder(uwt_eval: CommandLine, tmp_path: Path) -> None:
    result = uwt_eval("run", "imagenet-recon", "--data", tmp_path / "nowhere")
    assert_one_clear_line(result, "nowhere", "does not exist", "val/CLASS/IMAGE.JPEG")


def test_empty_data_folder(uwt_eval: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = uwt_eval("run", "imagenet-recon", "--data", tmp_path / "empty")
    assert_one_clear_line(result, "holds no image", "val/CLASS/IMAGE.JPEG")


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["imagenet-recom"], ["unknown task 'imagenet-recom'", "did you mean 'imagenet-recon'"]),
        (["imagenet-recon", "-m", "webpp"], ["unknown model 'webpp'", "'webp'"]),
        (["imagenet-recon", "--protocol", "wetokk"], ["unknown protocol", "'wetok'"]),
        (["imagenet-recon", "--metrics", "psnrr"], ["unknown metric 'psnrr'", "'psnr'"]),
        (["imagenet-recon", "-m", "webp:many"], ["webp:many", "must be a valid integer"]),
        # As typed: between colons, no word becomes an emoji.
        (["imagenet-recon", "-m", "webp:abc"], ["webp:abc: bytes must be"]),
        (["imagenet-recon", "-m", "webp?byte=1"], ["it takes only 'bytes'", "webp:BYTES"]),
        (["imagenet-recon", "-m", "webp?q=1"], ["no option 'q'"]),
        (
            ["imagenet-recon", "-m", "uniwetok"],
            ["needs 'path'", "uniwetok:PATH", "Lightning checkpoint"],
        ),
        (["imagenet-recon", "-m", "uniwetok:no.ckpt"], ["no.ckpt"]),
        (["imagenet-recon", "--limit", "0"], ["--limit 0"]),
        (["imagenet-recon", "--device", "tpu"], ["--device tpu"]),
        (["imagenet-recon", "--plugin", "no.py"], ["no.py", "no such file"]),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_wrong_arguments(
    arguments: list[str], texts: list[str], uwt_eval: CommandLine, tmp_path: Path
) -> None:
    assert_one_clear_line(uwt_eval("run", *arguments, "--out", tmp_path), *texts)


def test_one_model_that_cannot_run_leaves_the_others_results(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path
) -> None:
    models = ("-m", "webp:many", "-m", "jpeg", "-m", "avif:few")
    given = ("--data", photo_folder, "--limit", 2, "--metrics", "psnr", "--out", tmp_path)
    result = uwt_eval("run", "imagenet-recon", *models, *given, "--json")
    assert [record["model"] for record in result.records] == ["jpeg"]
    assert_one_clear_line(result, "not everything could be run", "webp:many", "avif:few")


def test_truncated_image_is_named_and_counted(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path
) -> None:
    broken = photo_folder / "val" / "n00000000" / "photo_0.png"
    broken.write_bytes(broken.read_bytes()[:5000])
    command = ("run", "imagenet-recon", "--data", photo_folder, "-m", "jpeg", "--out", tmp_path)
    result = uwt_eval(*command, "--json")
    assert result.code == 3
    assert "n00000000/photo_0.png" in result.err
    (record,) = result.records
    assert record["status"] == "incomplete"
    assert record["failures"] == {"decode_error": 1}
    assert record["metrics"]["psnr"]["status"].startswith("withheld: 1 of 6 samples failed")
    allowed = uwt_eval(*command, "--json", "--max-failures", "1")
    assert allowed.code == 0
    (record,) = allowed.records
    assert record["status"] == "complete"
    assert record["metrics"]["psnr"]["n"] == 5
    assert record["metrics"]["psnr"]["n_failed"] == 1


def test_image_smaller_than_64_at_original_resolution(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path, photos: list
) -> None:
    photos[0].resize((80, 40)).save(photo_folder / "val" / "n00000000" / "tiny.png")
    result = uwt_eval(
        "run", "imagenet-recon-native", "--data", photo_folder, "-m", "jpeg", "--out", tmp_path,
    )  # fmt: skip
    assert result.code == 3
    assert "tiny.png: decode_error: image of 80x40 is smaller than 64" in result.err


def test_full_disk_keeps_what_is_finished(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("run", "imagenet-recon", "--data", photo_folder, "-m", "jpeg", "--out", tmp_path)
    write_table = store.write_table

    def disk_full(table: object, path: Path) -> None:
        write_table(table, path)
        path.write_bytes(path.read_bytes()[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "write_table", disk_full)
    assert_one_clear_line(uwt_eval(*command), "disk full", "same command again")
    assert not list(tmp_path.glob("*/outputs/*"))
    monkeypatch.setattr(store, "write_table", write_table)
    assert uwt_eval(*command).code == 0
