"""Orders of classes that bare labels hide: found out where predictions tell, never by mistake."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import PIL.Image
import pytest
from hypothesis import given, settings, strategies as st
from torch import Tensor

from harness.interfaces import Observations
from harness.interfaces.errors import Unavailable
from harness.interfaces.registry import MODELS
from harness.interfaces.types import ModelCard
from tasks.zeroshot.order import UNPROVEN, better_order
from tasks.zeroshot.scores import TOP1, TOP5_PRE
from tests.conftest import CommandLine
from tests.tasks.conftest import PROTOCOL

Ints = np.ndarray[Any, np.dtype[np.int64]]


def predictions(labels: Ints, right: float, classes: int, skew: float, seed: int) -> Ints:
    """A model that is right in a share of images and else sends a label's images where it will.

    With `skew` near 1 each class has a wrong class of its own, as in models that hardly learnt.
    """
    rng = np.random.default_rng(seed)
    usual = rng.integers(classes, size=classes)[labels]
    anywhere = rng.integers(classes, size=len(labels))
    wrong = np.where(rng.random(len(labels)) < skew, usual, anywhere)
    return np.where(rng.random(len(labels)) < right, labels, wrong)


def images(classes: int, each: int) -> tuple[list[str], Ints]:
    labels = np.repeat(np.arange(classes), each)
    return [str(row) for row in range(len(labels))], labels


@given(
    classes=st.integers(1, 200),
    each=st.integers(1, 60),
    right=st.floats(0, 1),
    skew=st.floats(0, 0.3),
    seed=st.integers(0, 1000),
)
@settings(max_examples=150)
def test_a_right_order_is_never_refused(
    classes: int, each: int, right: float, skew: float, seed: int
) -> None:
    ids, labels = images(classes, each)
    predicted = predictions(labels, right, classes, skew, seed)
    assert better_order(ids, labels, predicted) is None


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("classes", [2, 5, 10])
def test_of_few_classes_even_an_untrained_models_habits_say_nothing(
    classes: int, seed: int
) -> None:
    ids, labels = images(classes, 500)
    habits = np.random.default_rng(seed).permutation(classes)[labels]
    assert better_order(ids, labels, habits) is None


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("classes", [12, 20, 50, 200])
def test_an_untrained_network_tells_nothing_even_of_classes_that_lie_far_apart(
    classes: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    ids, places = images(classes, 20)
    means = 2 * rng.normal(size=(classes, 16))
    pixels = means[places] + rng.normal(size=(len(places), 16))
    embeddings = np.maximum(pixels @ rng.normal(size=(16, 64)) + rng.normal(size=64), 0)
    vectors = rng.normal(size=(1000, 64))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    predicted = (embeddings @ vectors.T).argmax(axis=1)
    labels = rng.choice(1000, classes, replace=False)[places]
    assert better_order(ids, labels, predicted) is None


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("classes", "each", "right"), [(20, 20, 0.95), (200, 9, 0.7), (1000, 50, 0.35)]
)
def test_another_order_is_found_out(classes: int, each: int, right: float, seed: int) -> None:
    ids, labels = images(classes, each)
    predicted = predictions(labels, right, classes, 0.2, seed)
    orders = {
        "reversed": np.arange(classes)[::-1],
        "shuffled": np.random.default_rng(seed + 99).permutation(classes),
    }
    for name, order in orders.items():
        found = better_order(ids, order[labels], predicted)
        assert found is not None, name
        told, better = found
        # Few images of a class do not always show its prediction.
        assert told < 0.15 < 0.6 * right < better < right + 0.1, name
    assert better_order(ids, labels, predicted) is None


def test_too_few_images_tell_nothing() -> None:
    ids, labels = images(20, 2)
    assert better_order(ids, labels[::-1].copy(), labels) is None


def observed(notice: str, *, predicted: bool = True) -> Observations:
    ids, labels = images(30, 20)
    rows = {"id": ids, "rank_post": 29 - labels, "rank_pre": labels}
    columns = {"label": labels, "predicted_post": 29 - labels, "predicted_pre": labels * 0}
    return Observations(pd.DataFrame(rows | (columns if predicted else {})), notice=notice)


def test_only_labels_that_nothing_proves_are_doubted() -> None:
    notice = f"x holds 600 images, the benchmark has 50,000; {UNPROVEN}"
    for metric in (TOP1, TOP5_PRE):  # One head tells of both.
        with pytest.raises(
            Unavailable, match=r"labels in a wrong order .* with 0\.0% of them, and"
        ):
            metric.score(observed(notice), {})
        assert metric.score(observed("x holds 600 images"), {}).value is not None
        # Rows of an earlier version hold no predictions.
        assert metric.score(observed(notice, predicted=False), {}).value is not None


class Grey:
    """Embeds an image of one grey as the class of that number."""

    embedding_space = "tiny"
    card = ModelCard(name="grey")

    def load(self, device: str) -> None:
        del device

    def embeddings(self, pixels: Tensor) -> dict[str, np.ndarray]:
        numbers = np.rint((pixels[:, 0, 0, 0].numpy() + 1) * 127.5).astype(int)
        return {"post": np.eye(16, dtype=np.float32)[numbers]}


@pytest.fixture
def protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixteen classes; offers the model `grey` that knows them."""
    monkeypatch.setattr(MODELS, "_registered", {**MODELS._registered, "grey": Grey})
    vectors, file = tmp_path / "vectors.npz", tmp_path / "tiny.toml"
    np.savez(vectors, vectors=np.eye(16), folders=np.array([f"n{i:08d}" for i in range(16)]))
    sha256 = hashlib.sha256(vectors.read_bytes()).hexdigest()
    file.write_text(PROTOCOL.format(path=vectors, sha256=sha256))
    return file


def test_a_run_on_bare_labels_in_another_order_has_no_score_until_they_are_named(
    uwt_eval: CommandLine, tmp_path: Path, protocol: Path
) -> None:
    _, classes = images(16, 8)
    place = tmp_path / "table"
    (place / "data").mkdir(parents=True)
    files = []
    for number in classes:
        data = io.BytesIO()
        PIL.Image.new("RGB", (64, 64), (int(number),) * 3).save(data, "png")
        files.append({"bytes": data.getvalue(), "path": None})
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    table = datasets.Dataset.from_dict({"image": files, "label": 15 - classes}, kinds)
    table.to_parquet(str(place / "data" / "validation-00000-of-00001.parquet"))
    command = (
        "run", "imagenet-zeroshot", "--data", place, "-m", "grey", "--protocol", protocol,
        "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    refused = uwt_eval(*command).records[0]["metrics"]["top1"]
    assert refused["value"] is None
    assert refused["status"].startswith("not computed: labels in a wrong order of classes")
    names = "".join(f"          '{number}': n{15 - number:08d}\n" for number in range(16))
    (place / "README.md").write_text(
        "---\ndataset_info:\n  features:\n  - name: label\n    dtype:\n      class_label:\n"
        f"        names:\n{names}---\n"
    )
    assert uwt_eval(*command).records[0]["metrics"]["top1"]["value"] == 1
