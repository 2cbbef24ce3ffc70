"""What is ours of DreamSim: the files, the input and the cosine; its package is stood in for."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from harness.interfaces import ImagePairs
from harness.interfaces.errors import Unavailable
from harness.metrics import dreamsim as ours
from harness.metrics.dreamsim import DreamSimDistance

SETTINGS = {"ssim": {"window": "uniform7"}}


class Network:
    """The channel means and the first pixel as the embedding."""

    def embed(self, image: torch.Tensor) -> torch.Tensor:
        assert image.shape == (1, 3, 224, 224)
        return torch.cat([image.mean((2, 3)), image[:, :, 0, 0]], dim=1)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The package, which prints and moves torch.hub's folder as it does; what it was asked for."""
    asked: list[str] = []
    module = ModuleType("dreamsim")

    def dreamsim(*, device: str, cache_dir: str) -> tuple[Network, None]:
        print(f"Using cached {cache_dir}")
        torch.hub.set_dir(cache_dir)
        asked.append(cache_dir)
        return Network(), None

    module.dreamsim = dreamsim  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dreamsim", module)
    monkeypatch.setattr(ours, "lacking", lambda *_: "")
    version = metadata.version
    monkeypatch.setattr(
        metadata, "version", lambda name: "0.2.1" if name == "dreamsim" else version(name)
    )
    return asked


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ours._FILES:
        (tmp_path / "dreamsim" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "dreamsim" / name).write_text(name)
    monkeypatch.setenv("UWT_EVAL_ASSETS", str(tmp_path))
    return tmp_path / "dreamsim"


def pairs(first: np.ndarray, second: np.ndarray) -> ImagePairs:
    floats = torch.zeros(len(first), 3, *first.shape[1:3])
    return ImagePairs(floats, floats, first, second)


def test_images_are_prepared_as_the_package_prepares_them(
    package: list[str],
    folder: Path,
    photos: np.ndarray,
    degraded: np.ndarray,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = torch.hub.get_dir()
    found = DreamSimDistance(SETTINGS, "cpu").observe(pairs(photos[:3], degraded[:3]))["dreamsim"]
    prepare = transforms.Compose(
        [
            transforms.Resize((224, 224), transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
        ]
    )
    for place in range(3):
        both = [
            Network().embed(prepare(Image.fromarray(side[place]))[None]).double()
            for side in (photos, degraded)
        ]
        expected = 1 - torch.cosine_similarity(*both).item()
        assert found[place] == pytest.approx(expected, abs=1e-7)
    assert package == [str(folder)]
    assert torch.hub.get_dir() == before
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("package")
def test_every_file_is_in_the_identity(folder: Path) -> None:
    first = DreamSimDistance(SETTINGS, "cpu").identity
    assert {*first["files"]} == {*ours._FILES}
    (folder / "ensemble_lora" / "adapter_model.bin").write_text("more")
    assert DreamSimDistance(SETTINGS, "cpu").identity != first


@pytest.mark.usefixtures("package")
def test_missing_files_are_said_with_the_command_that_brings_them(folder: Path) -> None:
    (folder / "checkpoints/dino_vitbase16_pretrain.pth").unlink()
    with pytest.raises(Unavailable, match=r"weights 'dreamsim' missing, run `python -c"):
        DreamSimDistance(SETTINGS, "cpu")
    with pytest.raises(Unavailable, match="no pixel measures"):
        DreamSimDistance({}, "cpu")


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "lacking", lambda *_: 'needs dreamsim: pip install "…"')
    with pytest.raises(Unavailable, match="DreamSim needs dreamsim"):
        DreamSimDistance(SETTINGS, "cpu")
