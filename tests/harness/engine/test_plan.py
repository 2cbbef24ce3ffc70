"""From a request to a plan: what names a run directory, and what is refused before work starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harness.data.manifest import CPU_BLOCK, blocks
from harness.data.store import Store
from harness.engine.plan import Plan, make_plan
from harness.engine.run_file import run_id
from harness.engine.world import World, resolve_device
from harness.interfaces.errors import UserError
from harness.interfaces.types import ModelCard, Sample, Stage, digest_of
from tests.harness.toys import Control, ToyTokenizer, request


def plan(tiles: Path, **changes: Any) -> Plan:
    return make_plan(request(tiles, **changes), World())


def test_run_directory_tells_task_model_and_protocol(tiles: Path, control: Control) -> None:
    made = plan(tiles)
    assert made.root.parent == tiles.parent / "runs"
    assert made.root.name.startswith("imagenet-recon-native-toy-exact-")
    assert not made.root.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "toy?noise=0.2"},
        {"model": "webp"},
        {"protocol": "wetok"},
        {"seed": 1},
        {"limit": 5},
        {"task": "imagenet-recon"},
    ],
    ids=str,
)
def test_what_moves_the_result_moves_the_run_directory(
    changes: dict[str, Any], tiles: Path, control: Control
) -> None:
    assert plan(tiles, **changes).file.run_id != plan(tiles).file.run_id


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 3},
        {"metrics": ("bpp",)},
        {"max_failures": 5},
        {"small_sets": True},
        {"device": "auto"},
        {"out": Path("elsewhere")},
    ],
    ids=str,
)
def test_what_does_not_move_the_outputs_does_not(
    changes: dict[str, Any], tiles: Path, control: Control
) -> None:
    assert plan(tiles, **changes).file.run_id == plan(tiles).file.run_id


def test_a_long_name_of_a_model_fits_into_a_directory(tiles: Path, control: Control) -> None:
    file = plan(tiles).file
    names = [
        run_id(file.task, ModelCard(name=300 * "long " + end), file.protocol, "", 0) for end in "ab"
    ]
    assert max(map(len, names)) < 255
    assert names[0] != names[1]


def test_moved_data_is_the_same_data_and_changed_data_is_not(tiles: Path, control: Control) -> None:
    before = plan(tiles).file
    moved = tiles.rename(tiles.with_name("moved"))
    assert plan(moved).file.run_id == before.run_id
    Image.new("RGB", (96, 80)).save(moved / "tile_00.png")
    after = plan(moved).file
    assert after.run_id != before.run_id
    assert after.sample_key(after.samples[0]) != before.sample_key(before.samples[0])
    assert after.sample_key(after.samples[1]) == before.sample_key(before.samples[1])


def test_keys_cover_a_blocks_own_samples_only(tiles: Path, control: Control) -> None:
    file = plan(tiles).file
    cut = blocks(file.samples, CPU_BLOCK)
    assert len({file.output_key(block) for block in cut}) == len(cut)
    assert file.observation_key(cut[0], "pixels") != file.output_key(cut[0])
    assert plan(tiles, limit=None).file.output_key(cut[0]) == file.output_key(cut[0])


def test_sample_keeps_its_key_and_seed_in_a_smaller_choice(tiles: Path, control: Control) -> None:
    whole, part = plan(tiles).file, plan(tiles, limit=5).file
    by_id = {sample.id: sample for sample in whole.samples}
    for sample in part.samples:
        assert part.sample_key(sample) == whole.sample_key(by_id[sample.id])
    assert part.seeds(part.samples) == whole.seeds([by_id[s.id] for s in part.samples])


def test_metrics_are_named_in_any_case(tiles: Path, control: Control) -> None:
    assert plan(tiles, metrics=("PSNR", "rFID")).file.metrics == ("psnr", "rfid")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"task": "imagenet-recn"}, "unknown task 'imagenet-recn': did you mean"),
        ({"model": "webpp"}, "unknown model 'webpp'"),
        ({"protocol": "exakt"}, "unknown protocol 'exakt'"),
        ({"protocol": ""}, "protocol '' is no name, and no file that ends in .toml: known: "),
        ({"metrics": ("psnr", "sim")}, "unknown metric 'sim': did you mean 'ssim'"),
        ({"limit": 0}, "--limit 0: must be at least 1"),
        ({"limit": -3}, "--limit -3: must be at least 1"),
        ({"batch_size": 0}, "--batch-size 0: must be at least 1"),
        ({"seed": -1}, "--seed -1: must be at least 0"),
        ({"max_failures": -1}, "--max-failures -1: must be at least 0"),
        ({"device": "tpu"}, "--device tpu"),
        ({"device": "meta"}, "--device meta: use auto, cpu, cuda, cuda:N or mps"),
        ({"data": "/nowhere"}, "'/nowhere' does not exist: expected a folder with val/"),
    ],
    ids=str,
)
def test_bad_requests_are_refused(
    changes: dict[str, Any], text: str, tiles: Path, control: Control
) -> None:
    with pytest.raises(UserError) as raised:
        plan(tiles, **changes)
    assert text in str(raised.value)
    assert not (tiles.parent / "runs").exists()


@pytest.mark.parametrize(
    ("own", "text"),
    [
        (3, "no mapping of tasks to names (AttributeError: 'int' object has no attribute 'get')"),
        ({"imagenet-recon-native": 3}, "3 is no name of one"),
        (property(lambda _: 1 / 0), "no mapping of tasks to names (ZeroDivisionError: division"),
    ],
    ids=["a number", "a number for a name", "one that raises"],
)
def test_a_models_protocols_that_are_none_are_one_line(
    own: object, text: str, tiles: Path, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ToyTokenizer, "protocols", own, raising=False)
    with pytest.raises(UserError) as raised:
        plan(tiles, protocol=None)
    said = f"model 'toy' has no protocol for 'imagenet-recon-native': {text}"
    assert str(raised.value).startswith(said)


def test_data_of_which_nothing_is_evaluated_is_refused(tiles: Path, control: Control) -> None:
    for tile in tiles.iterdir():
        tile.unlink()
    Image.new("RGB", (2100, 64)).save(tiles / "long.png")
    with pytest.raises(UserError, match="of 1 image none is"):
        plan(tiles, protocol="wetok")


def test_missing_cuda_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="--device cuda: torch sees no CUDA device here"):
        resolve_device("cuda", World())
    assert resolve_device("auto", World()) == "cpu"


def test_each_process_takes_its_own_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    second = World(rank=5, size=8, local_rank=1)
    assert resolve_device("auto", second) == "cuda:1"
    assert resolve_device("cuda", second) == "cuda:1"
    assert resolve_device("cuda:3", second) == "cuda:3"
    assert resolve_device("cpu", second) == "cpu"


def test_a_gpu_takes_batches_as_large_as_asked_for(
    tiles: Path,
    control: Control,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A run that was begun in smaller blocks goes on with them, and says so."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    made = plan(tiles, device="cuda", batch_size=256)
    assert (made.batch_size, made.file.block_size) == (256, 256)
    begun = plan(tiles, device="cuda")
    assert (begun.batch_size, begun.file.block_size) == (64, 64)
    facts = {"machine": {"device": "cuda:0"}}
    Store(begun.root).write_record("run.json", begun.file.model_copy(update={"provenance": facts}))
    assert plan(tiles, device="cuda", batch_size=256).batch_size == 64
    assert "was begun in blocks of 64: batches are no larger" in capsys.readouterr().err


def test_auto_starts_at_the_models_best_on_a_gpu_alone(
    tiles: Path, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(tiles, batch_size="auto")
    assert (made.batch_size, made.most_batch) == (1, None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(ToyTokenizer, "best_batch", 2, raising=False)
    made = plan(tiles, device="cuda", batch_size="auto")
    assert (made.batch_size, made.most_batch) == (2, len(made.file.samples))


def test_small_images_go_one_at_a_time_on_a_cpu(tiles: Path, control: Control) -> None:
    assert plan(tiles, batch_size=64).batch_size == 1


def test_shipped_defaults_are_resolved(tiles: Path, control: Control) -> None:
    made = plan(tiles, protocol=None, metrics=None)
    assert made.file.protocol.name == "wetok"
    assert made.file.metrics[:3] == ("bpp", "psnr", "ssim")
    assert list(made.file.extractors) == ["pixels"]
    assert set(made.file.unavailable) >= {"inception"}


@pytest.mark.parametrize("code", ["", "c" * 64])
def test_keys_are_digests_of_what_outputs_depend_on(
    tiles: Path, control: Control, code: str
) -> None:
    """As they have been since the first run directories, whose files are found by them."""
    file = plan(tiles).file.model_copy(update={"task_code": code})
    names = ['a "b".png', "ü/\\ \u2028\t.png", "🎈.png", "\x7f"]
    block = [Sample(id=name, index=i, sha256=f"{i}" * 64) for i, name in enumerate(names)]
    keys = {
        stage: [
            digest_of(
                [
                    *(file.task, file.task_version, file.protocol.digests[stage], each.id),
                    *(each.sha256, file.model.digest, file.seed, *([code] if code else [])),
                ]
            )
            for each in block
        ]
        for stage in (Stage.GENERATE, Stage.OBSERVE)
    }
    assert [file.sample_key(each) for each in block] == keys[Stage.GENERATE]
    assert file.output_key(block) == digest_of(keys[Stage.GENERATE])
    seen = digest_of(keys[Stage.OBSERVE])
    expected = digest_of([seen, "pixels", file.extractors["pixels"]])
    assert file.observation_key(block, "pixels") == expected
