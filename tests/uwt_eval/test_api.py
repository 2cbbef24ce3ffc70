"""The command line from Python: the same records, for modules and functions too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import uwt_eval
from harness.interfaces.errors import UserError
from tests.conftest import CommandLine


class Halving(nn.Module):
    """Keeps every pixel of a grid, in 16 levels."""

    def __init__(self, levels: int = 16) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(float(levels - 1)))
        self.noise = nn.Dropout(0.5)

    def encode(self, images: Tensor) -> Tensor:
        small = nn.functional.avg_pool2d(images, 8)
        return self.noise((small + 1) / 2 * self.scale).round().byte()

    def decode(self, codes: Tensor) -> Tensor:
        return nn.functional.interpolate(codes / self.scale * 2 - 1, scale_factor=8)


def chosen(tmp_path: Path, **options: Any) -> dict[str, Any]:
    return {"limit": 4, "metrics": ["bpp", "psnr"], "out": tmp_path, "progress": False, **options}


def test_records_are_those_of_the_command_line(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    command_line: CommandLine = request.getfixturevalue("uwt_eval")
    found = uwt_eval.evaluate("imagenet-recon", ["webp", "jpeg"], **chosen(tmp_path / "api"))
    words = ["run", "imagenet-recon", "-m", "webp", "-m", "jpeg", "--limit", "4"]
    words += ["--metrics", "bpp,psnr", "--out", str(tmp_path / "cli"), "--json", "-q"]
    told = command_line(*words).records
    for record, other in zip(found.records, told, strict=True):
        assert record.model_dump(mode="json")["metrics"] == other["metrics"]
        assert record.run_id == other["run_id"]
    assert found.roots[0] is not None
    assert (found.roots[0] / "record.json").is_file()


def test_a_module_in_training_is_measured_and_left_as_it_was(tmp_path: Path) -> None:
    module = Halving().train()
    module.noise.eval()
    wrapped = uwt_eval.tokenizer(module, name="halving", codebook=16)
    found = uwt_eval.evaluate("imagenet-recon", wrapped, **chosen(tmp_path))
    assert module.training
    assert not module.noise.training
    assert module.scale.requires_grad
    assert module.scale.grad is None
    assert found.value("bpp") == 3 * 32 * 32 * 4 / 256**2
    (record,) = found.records
    assert (record.model, record.n_failed) == ("halving", 0)


def test_weights_that_changed_are_another_model(tmp_path: Path) -> None:
    module = Halving()
    calls: list[int] = []

    def encode(images: Tensor) -> Tensor:
        calls.append(len(images))
        return module.encode(images)

    wrapped = uwt_eval.tokenizer(encode=encode, decode=module.decode, name="mine", codebook=16)
    first = uwt_eval.evaluate("imagenet-recon", wrapped, **chosen(tmp_path))
    done = len(calls)
    again = uwt_eval.evaluate("imagenet-recon", wrapped, **chosen(tmp_path))
    assert len(calls) == done, "what is finished is not repeated"
    assert again.records[0].model_digest == first.records[0].model_digest
    with torch.no_grad():
        module.scale.fill_(3)
    third = uwt_eval.evaluate("imagenet-recon", wrapped, **chosen(tmp_path))
    assert len(calls) == 2 * done
    assert third.records[0].model_digest != first.records[0].model_digest
    assert third.value("psnr") != first.value("psnr")


def test_two_functions_without_a_module(tmp_path: Path) -> None:
    wrapped = uwt_eval.tokenizer(
        encode=lambda images: images.numpy() > 0,
        decode=lambda codes: codes.float() * 2 - 1,
        name="threshold",
    )
    found = uwt_eval.evaluate("imagenet-recon", wrapped, **chosen(tmp_path))
    assert found.value("bpp") == 3
    frame = found.to_frame()
    assert frame["model"].tolist() == ["threshold"]
    assert frame["psnr_low"][0] < frame["psnr"][0] < frame["psnr_high"][0]
    assert found.samples()["psnr"].mean() == pytest.approx(found.value("psnr"), rel=1e-3)


def test_results_as_text_and_in_a_notebook(tmp_path: Path) -> None:
    found = uwt_eval.evaluate("imagenet-recon", "webp", **chosen(tmp_path))
    assert "webp" in repr(found)
    assert "PSNR" in repr(found)
    page = found._repr_html_()
    assert "<table>" in page
    assert "data:image/png;base64," in page
    assert "embedded sample set" in page


def test_stored_runs_are_loaded_and_compared(tmp_path: Path) -> None:
    options = chosen(tmp_path, limit=8)
    found = uwt_eval.evaluate("imagenet-recon", ["webp:600", "webp:2048"], **options)
    loaded = uwt_eval.load_runs(tmp_path)
    assert {each.run_id for each in loaded.records} == {each.run_id for each in found.records}
    before, after = found.roots
    assert before is not None
    assert after is not None
    table = uwt_eval.compare(before, after)
    assert table.loc["psnr", "difference"] == pytest.approx(
        table.loc["psnr", "after"] - table.loc["psnr", "before"]
    )
    assert table.loc["psnr", "low"] > 0


def test_two_folders_of_files(tmp_path: Path, photos: list[Image.Image]) -> None:
    for number, photo in enumerate(photos[:3]):
        photo.crop((0, 0, 64, 64)).save(tmp_path / f"{number}.png")
    found = uwt_eval.metrics(tmp_path, tmp_path, "psnr,ssim", progress=False)
    assert found.value("ssim") == 1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: uwt_eval.tokenizer(name="none"), "needs both encode and decode"),
        (
            lambda: uwt_eval.tokenizer(Halving(), name="both", codebook=16, bits=3),
            "give codebook or bits, not both",
        ),
        (lambda: uwt_eval.tokenizer(Halving(), name="a:b"), "a name is a text without"),
        (lambda: uwt_eval.tokenizer(Halving(), name="webp"), "the name belongs to"),
    ],
)
def test_what_cannot_be_is_one_line(make: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        uwt_eval.evaluate("imagenet-recon", make(), **chosen(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("task", "model", "options", "said"),
    [
        (
            "imagenet-recon",
            Halving(),
            {},
            r"Halving is no model: .*uwt_eval.tokenizer\(module, name=",
        ),
        ("imagenet-recon", ["webp", Halving()], {}, "Halving is no model"),
        (["imagenet-recon"], "webp", {}, r"task \['imagenet-recon'\] is no name: give one task"),
        ("imagenet-recon", "webp", {"limit": "4"}, "limit='4': give a whole number"),
        ("imagenet-recon", "webp", {"batch_size": "4"}, "batch_size='4': give a whole number"),
        ("imagenet-recon", "webp", {"metrics": "psnr,psn"}, "unknown metric 'psn'"),
    ],
)
def test_arguments_of_another_kind_are_one_line(
    task: Any, model: Any, options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        uwt_eval.evaluate(task, model, **chosen(tmp_path, **options))


def test_metrics_are_one_text_too(tmp_path: Path) -> None:
    found = uwt_eval.evaluate("imagenet-recon", "webp", **chosen(tmp_path, metrics="bpp,psnr"))
    assert list(found.records[0].metrics) == ["bpp", "psnr"]


def test_results_are_no_place_of_results(tmp_path: Path) -> None:
    found: Any = uwt_eval.evaluate("imagenet-recon", "webp", **chosen(tmp_path))
    for wrong in (uwt_eval.compare, uwt_eval.load_runs):
        with pytest.raises(UserError, match=r"Results is no path: .* results.roots\[0\]"):
            wrong(found, found)


def test_codes_of_another_kind_fail_as_a_model_does(tmp_path: Path) -> None:
    wrapped = uwt_eval.tokenizer(
        encode=lambda images: "codes", decode=lambda codes: codes, name="texts"
    )
    with pytest.raises(UserError, match=r"failed on each of the first .*encode gave str"):
        uwt_eval.evaluate("imagenet-recon", wrapped, **chosen(tmp_path))


def test_objects_do_not_go_to_another_process(tmp_path: Path) -> None:
    wrapped = uwt_eval.tokenizer(Halving(), name="halving")
    with pytest.raises(UserError, match="runs its models in a process of their own"):
        uwt_eval.evaluate("pope", wrapped, out=tmp_path)


def test_inside_a_training_loop(tmp_path: Path) -> None:
    module = Halving()
    checks = uwt_eval.Every(
        2,
        "imagenet-recon",
        lambda trained: uwt_eval.tokenizer(trained, name="trained", codebook=16),
        **chosen(tmp_path),
    )
    torch.manual_seed(0)
    drawn = []
    for step in range(1, 5):
        checks(step, module)
        drawn.append(torch.rand(()).item())
        with torch.no_grad():
            module.scale -= 2
    assert sorted(checks.results) == [2, 4]
    torch.manual_seed(0)
    assert drawn == [torch.rand(()).item() for _ in range(4)], "the training's numbers are its own"
    assert checks.results[2].value("psnr") != checks.results[4].value("psnr")


def test_as_a_callback_of_lightning(tmp_path: Path) -> None:
    lightning = pytest.importorskip("pytorch_lightning")

    class Autoencoder(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inner = Halving()

        def training_step(self, batch: Tensor, _: int) -> Tensor:
            return (self.inner.scale * batch).mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 1e-3)

    def measured(module: Any) -> Any:
        return uwt_eval.tokenizer(module.inner, name="trained", codebook=16)

    options = chosen(tmp_path / "runs", limit=1)
    every = [uwt_eval.Every(steps, "imagenet-recon", measured, **options) for steps in (2, 3)]
    trainer = lightning.Trainer(
        max_steps=4, accelerator="cpu", callbacks=[*every], default_root_dir=tmp_path, logger=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Autoencoder(), torch.utils.data.DataLoader(torch.rand(8, 3), batch_size=1))
    assert [sorted(checks.results) for checks in every] == [[2, 4], [3]]
    assert trainer.callback_metrics["uwt/psnr"] == pytest.approx(
        every[0].results[4].value("psnr"), rel=1e-6
    )
    assert list(tmp_path.glob("checkpoints/*.ckpt")), "its state is saved with the others'"


def test_importing_it_imports_nothing() -> None:
    code = "import sys, uwt_eval; assert not {'torch', 'harness', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_five_lines_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
    block = page.split("```python\n")[1].split("```")[0]
    lines = [line for line in block.splitlines() if line.strip()]
    assert len(lines) <= 5
    scope: dict[str, Any] = {"autoencoder": Halving()}
    exec(block, scope)
    assert np.isfinite(scope["results"].to_frame()["psnr"]).all()
