"""Which model fits which task: decided from what both offer, before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from harness.interfaces import INTERFACES, models
from harness.interfaces.registry import TASKS
from tests.conftest import CommandLine
from tests.e2e.test_bad_input import assert_one_clear_line


def test_interfaces_are_the_protocols_that_plug_ins_are_written_by() -> None:
    for name, interface in INTERFACES.items():
        protocol = getattr(models, name)
        methods = [key for key, value in vars(protocol).items() if callable(value)]
        assert set(interface.methods) == {key for key in methods if not key.startswith("_")}


def test_every_task_names_interfaces_that_there_are() -> None:
    for name in TASKS.names():
        interfaces = TASKS.get(name).spec.interfaces
        assert interfaces
        assert set(interfaces) <= INTERFACES.keys()


@pytest.mark.parametrize("how", [(), ("--dry-run",)], ids=["run", "dry-run"])
@pytest.mark.parametrize(
    ("task", "model", "texts"),
    [
        (
            "imagenet-zeroshot",
            "images:{folder}",
            [
                "model 'images' reads images made elsewhere; imagenet-zeroshot needs one that "
                "embeds images (embeddings); it fits: coco-recon, coco-recon-native, dpg, "
                "face-recon, gedit, gedit-cn, gedit-en, genai-bench, geneval, geneval-long, "
                "geneval2, imagenet-gen, imagenet-recon, imagenet-recon-native, text-recon"
            ],
        ),
        ("imagenet-recon", "uniwetok-ar-nano", ["draws images of classes", "fits: imagenet-gen"]),
        ("imagenet-gen", "webp", ["imagenet-gen needs one that draws images of classes"]),
        ("imagenet-zeroshot", "jpeg", ["needs one that embeds images (embeddings)"]),
        ("geneval", "webp", ["images of texts (generate, decode) or reads images made elsewhere"]),
        ("gedit", "uniwetok-nano", ["encodes and decodes images and embeds images; gedit needs"]),
        ("pope", "images:{folder}", ["pope needs one that answers questions about images"]),
    ],
)
def test_a_model_that_does_not_fit_is_refused_in_one_line(
    task: str,
    model: str,
    texts: list[str],
    how: tuple[str, ...],
    uwt_eval: CommandLine,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    out = tmp_path / "runs"
    model = model.format(folder=folder)
    assert_one_clear_line(uwt_eval("run", task, "-m", model, "--out", out, *how), *texts)
    assert not out.exists()


BROKEN = """
from harness.interfaces.registry import MODELS

@MODELS.register("broken")
class Broken:
    @property
    def card(self):
        raise ZeroDivisionError("no identity\\ntoday")

    def load(self, device):
        pass

    def encode(self, images):
        return []

    def decode(self, codes, seeds):
        return None

@MODELS.register("nameless")
class Nameless(Broken):
    card = None
"""


def test_a_card_that_cannot_be_had_is_one_line(uwt_eval: CommandLine, tmp_path: Path) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text(BROKEN)
    given = ("run", "imagenet-recon", "--plugin", plugin, "--out", tmp_path / "runs", "--model")
    assert_one_clear_line(
        uwt_eval(*given, "broken"), "model 'broken' has no card: ZeroDivisionError: no identity"
    )
    assert_one_clear_line(uwt_eval(*given, "nameless"), "'nameless' has no card: a NoneType is")
    assert not (tmp_path / "runs").exists()


def test_a_run_that_is_refused_later_leaves_no_folder(
    uwt_eval: CommandLine, tmp_path: Path
) -> None:
    protocol = ("--protocol", "adm", "--limit", "2", "--device", "cpu")
    result = uwt_eval(
        "run", "imagenet-gen", "-m", "uniwetok-ar-nano", *protocol, "--out", tmp_path / "runs"
    )
    assert_one_clear_line(result, "has 55 classes, not the 1000 of this protocol")
    assert not (tmp_path / "runs").exists()
