"""UniWeTok as a model of the harness, through the command line."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.engine.models import ModelChoice
from harness.interfaces import Code
from tests.conftest import CommandLine
from uniwetok.plugins.tokenizer import UniWeTokPlugin, title
from uniwetok.tokenizer import UniWeTok, UniWeTokConfig

TINY = UniWeTokConfig(channels=32, num_res_blocks=1, attention_blocks=1, heads=4)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    UniWeTok(TINY).save_pretrained(folder)
    return folder


def test_run_reports_rate_and_usage(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path, checkpoint: Path
) -> None:
    result = uwt_eval(
        "run", "imagenet-recon", "--data", photo_folder, "-m", f"uniwetok:{checkpoint}",
        "--limit", 2, "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    (record,) = result.records
    assert record["model"] == "uniwetok:tiny"
    assert record["metrics"]["bpp"]["value"] == 0.125
    assert record["metrics"]["usage_pooled"]["n"] == 2
    assert 0 < record["metrics"]["usage_joint"]["value"] <= 1


def test_batch_size_and_threads_move_no_bit(
    uwt_eval: CommandLine, tmp_path: Path, photos: list[Image.Image], checkpoint: Path
) -> None:
    (tmp_path / "photos").mkdir()
    for index, photo in enumerate(photos[:4]):
        size = (64, 64) if index == 3 else (96, 130)
        photo.crop((30, 30, 30 + size[0], 30 + size[1])).save(tmp_path / f"photos/{index}.png")
    records = []
    threads = torch.get_num_threads()
    for index, (batch_size, count) in enumerate([(1, 1), (3, 2), (64, 1)]):
        torch.set_num_threads(count)
        try:
            result = uwt_eval(
                "run", "imagenet-recon-native", "--data", tmp_path / "photos", "--json",
                "-m", f"uniwetok:{checkpoint}", "--batch-size", batch_size,
                "--out", tmp_path / str(index),
            )  # fmt: skip
        finally:
            torch.set_num_threads(threads)
        (record,) = result.records
        record.pop("provenance")
        records.append(record)
    assert records[0] == records[1] == records[2]


def test_payload_bytes_are_group_indices(checkpoint: Path) -> None:
    plugin = UniWeTokPlugin(checkpoint)
    plugin.load("cpu")
    images = torch.rand(2, 3, 96, 130, generator=torch.Generator().manual_seed(0)) * 2 - 1
    codes = plugin.encode(images)
    assert all(len(code.payload) == 3 * 5 * 16 for code in codes)
    codebook = plugin.card.codebook
    assert codebook is not None
    symbols = codebook.unpack(codes[0].payload)
    np.testing.assert_array_equal(
        symbols, np.frombuffer(codes[0].payload, np.uint8).reshape(15, 16)
    )
    decoded = plugin.decode(codes, seeds=[1, 2])
    assert decoded.shape == images.shape
    again = plugin.decode([Code(codes[1].payload, 96, 130)], seeds=[2])
    torch.testing.assert_close(again[0], decoded[1], rtol=0, atol=1e-5)


def test_bfloat16_is_another_model(checkpoint: Path) -> None:
    float32, bfloat16 = (
        ModelChoice.parse(f"uniwetok:{checkpoint}{query}").build()
        for query in ("", "?dtype=bfloat16")
    )
    assert float32.card.digest != bfloat16.card.digest
    assert bfloat16.card.title == "uniwetok:tiny?dtype=bfloat16"
    bfloat16.load("cpu")
    image = torch.zeros(1, 3, 64, 64)
    decoded = bfloat16.decode(bfloat16.encode(image), seeds=[0])  # type: ignore[attr-defined]
    assert decoded.dtype == torch.float32


class Malicious:
    """Would write a file if it were unpickled."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("code.ckpt", ["code.ckpt", "safetensors"]),
        ("missing.ckpt", ["missing.ckpt", "decoder.conv_out.bias"]),
        ("noise.ckpt", ["noise.ckpt"]),
        ("nan.ckpt", ["nan.ckpt", "encoder.conv_in.weight holds 1 of"]),
    ],
)
def test_bad_checkpoints_are_one_line(
    name: str,
    texts: list[str],
    uwt_eval: CommandLine,
    tmp_path: Path,
    photo_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    if name == "code.ckpt":
        path.write_bytes(pickle.dumps({"state_dict": Malicious()}))
    elif name == "missing.ckpt":
        weights = UniWeTok(TINY).state_dict()
        weights.pop("decoder.conv_out.bias")
        torch.save({"state_dict": weights}, path)
    elif name == "nan.ckpt":
        weights = UniWeTok(TINY).state_dict()
        weights["encoder.conv_in.weight"][0, 0, 0, 0] = torch.nan
        torch.save(weights, path)
    else:
        path.write_bytes(b"not a checkpoint")
    result = uwt_eval(
        "run", "imagenet-recon", "--data", photo_folder, "-m", f"uniwetok:{path}",
        "--out", tmp_path / "runs",
    )  # fmt: skip
    assert result.code == 2, result.err
    assert len(result.err.strip().splitlines()) == 1
    for text in texts:
        assert text in result.err
    assert not (tmp_path / "executed").exists()


def test_the_record_says_which_weights_were_taken(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path
) -> None:
    weights = UniWeTok(TINY).state_dict()
    torch.save(
        {"model": weights, "ema": weights, "teacher.weight": torch.ones(2)}, tmp_path / "a.pt"
    )
    result = uwt_eval(
        "run", "imagenet-recon", "--data", photo_folder, "-m", f"uniwetok:{tmp_path / 'a.pt'}",
        "--limit", 1, "--metrics", "psnr", "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    (record,) = json.loads(result.out)
    assert record["provenance"]["weights"] == (
        f"a.pt: {len(weights)} of {len(weights)} tensors are moving averages; assumed, for no "
        "config.json is beside them: heads=4, groups=16, siglu=True; not the model's and ignored: "
        "teacher.weight"
    )
    assert record["provenance"]["weights"] in result.err


def test_a_file_of_everybodys_name_is_called_by_its_folder() -> None:
    for place, called in (
        ("runs/first/model.safetensors", "first"),
        ("/runs/first/model/model.safetensors", "first"),
        ("runs/first/model", "first"),
        ("runs/first.safetensors", "first"),
        ("model.safetensors", "model"),
    ):
        assert title("uniwetok", Path(place)) == f"uniwetok:{called}"
