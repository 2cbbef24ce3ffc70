"""Names to plug-ins: suggestions, broken packages, plug-in files, groups of tasks."""

from __future__ import annotations

import re
import sys
import threading
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.interfaces.errors import UserError, did_you_mean
from harness.interfaces.registry import (
    EXTRACTORS,
    METRICS,
    MODELS,
    TASKS,
    Registry,
    expand_tasks,
    load_plugin,
)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry[object]:
    """A registry with one sound and two broken targets in its list."""
    targets = {
        "sound": "json:dumps",
        "no-module": "no_such_module_anywhere:thing",
        "no-attribute": "json:no_such_thing",
    }
    monkeypatch.setattr("harness.interfaces.registry._built_in", lambda: ({"gadgets": targets},))
    return Registry("gadgets", "gadget")


@pytest.fixture
def own_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models registered in a test are gone after it."""
    monkeypatch.setattr(MODELS, "_registered", dict(MODELS._registered))


def test_near_names_are_suggested_nearest_first() -> None:
    assert did_you_mean("imagenet-recn", ["coco-recon", "imagenet-recon"]).startswith(
        "did you mean 'imagenet-recon'"
    )


def test_near_names_are_near_in_any_case() -> None:
    assert did_you_mean("PSNRR", ["fid", "psnr"]) == "did you mean 'psnr'?"
    assert did_you_mean("mine", ["Mine", "jpeg"]) == "did you mean 'Mine'?"


def test_only_names_that_are_like_it_are_near() -> None:
    assert did_you_mean("coco", ["coco-recon", "jpeg"]) == "did you mean 'coco-recon'?"
    assert did_you_mean("four-bit", ["diffusers-edit"]) == "known: diffusers-edit"


def test_of_many_names_none_is_suggested_that_is_unlike() -> None:
    told = did_you_mean("xqzw", [f"name-{n:02}" for n in range(50)])
    assert told == ("nothing is spelled like it; known are name-00, name-01, name-02 and 47 more")


def test_names_are_found_in_any_case_their_own_first(registry: Registry[object]) -> None:
    assert registry.spelled("SOUND") == "sound"
    registry.register("Sound")(object())
    assert [registry.spelled(name) for name in ("sound", "Sound")] == ["sound", "Sound"]
    assert registry.spelled("Silence") == "Silence"


def test_all_names_are_listed_where_none_is_near() -> None:
    assert did_you_mean("zzz", ["webp", "jpeg"]) == "known: jpeg, webp"
    assert did_you_mean("zzz", []) == "known: none"


def test_only_the_nearest_of_many_names_are_listed() -> None:
    many = [f"model-{number:03}" for number in range(100)] * 2
    assert len(set(re.findall(r"model-\d+", did_you_mean("zzz", many)))) == 3


def test_listing_imports_nothing(registry: Registry[object]) -> None:
    assert registry.names() == ["no-attribute", "no-module", "sound"]
    assert "no-module" in registry
    assert "nothing" not in registry


def test_imports_in_two_threads_leave_stdout_as_it_was(
    registry: Registry[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one begins within the first and ends after it."""
    begun, ended = threading.Event(), threading.Event()
    other = threading.Thread(target=registry.get, args=("sound",))

    def load(point: EntryPoint) -> object:
        assert sys.stdout is sys.stderr
        if threading.current_thread() is not other:
            other.start()
            assert begun.wait(60)
        else:
            begun.set()
            assert ended.wait(60)
        return object

    monkeypatch.setattr(EntryPoint, "load", load)
    stdout = sys.stdout
    registry.get("sound")
    assert sys.stdout is sys.stderr, "one is still at work"
    ended.set()
    other.join(60)
    assert sys.stdout is stdout


def test_entry_points_are_imported_when_asked_for(registry: Registry[object]) -> None:
    import json

    assert registry.get("sound") is json.dumps


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("no-module", "no_such_module_anywhere"),
        ("no-attribute", "no_such_thing"),
    ],
)
def test_broken_entry_point_names_itself_and_its_target(
    registry: Registry[object], name: str, text: str
) -> None:
    with pytest.raises(
        UserError, match=rf"gadget '{name}' of .*\(.*\) cannot be imported: .*{text}"
    ):
        registry.get(name)


def test_unknown_name_suggests(registry: Registry[object]) -> None:
    with pytest.raises(UserError, match="unknown gadget 'sond': did you mean 'sound'"):
        registry.get("sond")


def test_a_plug_in_file_adds_names(registry: Registry[object]) -> None:
    mine = object()
    assert registry.register("sounder")(mine) is mine
    assert registry.get("sounder") is mine
    assert registry.names().count("sounder") == 1


@pytest.mark.parametrize("kind", [TASKS, MODELS, METRICS, EXTRACTORS], ids=lambda kind: kind.noun)
def test_everything_that_is_installed_can_be_imported(kind: Registry[object]) -> None:
    assert kind.names()
    for name in kind.names():
        kind.get(name)


def test_every_metric_needs_extractors_that_exist() -> None:
    for name in METRICS.names():
        assert set(METRICS.get(name).needs) <= set(EXTRACTORS.names())


def test_plugin_file_registers_a_model(own_models: None, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from dataclasses import dataclass\n"
        "from harness.interfaces.registry import MODELS\n"
        "@MODELS.register('mine')\n"
        "@dataclass\n"
        "class Mine:\n"
        "    scale: str = '1'\n"
    )
    load_plugin(path)
    assert MODELS.get("mine")(scale="2").scale == "2"


def test_a_plug_in_file_cannot_take_a_name_that_is_ours(own_models: None, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from harness.interfaces.registry import MODELS\n"
        "@MODELS.register('webp')\n"
        "class Mine: pass\n"
    )
    with pytest.raises(UserError) as raised:
        load_plugin(path)
    assert str(raised.value) == (
        f"--plugin {path}: model 'webp' (Mine): the name belongs to uwt-eval "
        "(harness.baselines.codecs:WebP), take another"
    )
    assert MODELS.get("webp").__module__ == "harness.baselines.codecs"


def test_plugin_file_imports_the_modules_beside_it(
    own_models: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "beside_a_plugin.py").write_text("NAME = 'of-two-files'")
    # A namesake of an installed module does not take its place.
    (tmp_path / "numpy.py").write_text("raise AssertionError")
    path = tmp_path / "plugin.py"
    path.write_text(
        "import numpy\nfrom beside_a_plugin import NAME\n"
        "from harness.interfaces.registry import MODELS\nMODELS.register(NAME)(dict)\n"
    )
    load_plugin(path)
    assert "of-two-files" in MODELS.names()


def test_missing_plugin_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--plugin .*gone\.py: no such file"):
        load_plugin(tmp_path / "gone.py")


def test_plugin_folder_is_no_plugin_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_plugin(tmp_path)


def test_plugin_of_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plugin.txt").write_text("")
    with pytest.raises(UserError, match="not a Python file"):
        load_plugin(tmp_path / "plugin.txt")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import no_such_module_anywhere", "no_such_module_anywhere"),
        ("def broken(:", "SyntaxError"),
        ("import sys; sys.exit(7)", "SystemExit: 7"),
    ],
)
def test_plugin_that_raises_is_named_with_its_error(tmp_path: Path, code: str, text: str) -> None:
    (tmp_path / "broken.py").write_text(code)
    with pytest.raises(UserError, match=rf"--plugin .*broken\.py: .*{text}"):
        load_plugin(tmp_path / "broken.py")


def test_what_a_plugin_file_registers_must_be_of_the_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in (TASKS, METRICS, MODELS):
        monkeypatch.setattr(registry, "_registered", {"mine": 1})
        with pytest.raises(UserError, match=f"{registry.noun} 'mine' of a --plugin file: 1 is no"):
            registry.get("mine")


def test_a_question_that_a_plugin_file_cannot_answer_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(TASKS, "_registered", {"mine": SimpleNamespace(spec=None)})
    with pytest.raises(UserError, match="task 'mine' of a --plugin file: AttributeError: 'NoneT"):
        TASKS.ask(lambda task: task.spec.title)


def test_group_expands_to_its_tasks_in_order_without_repeats() -> None:
    table10 = ["coco-recon", "coco-recon-native", "imagenet-recon", "imagenet-recon-native"]
    assert expand_tasks(["table10"]) == table10
    assert expand_tasks(["table8"]) == ["imagenet-recon"]
    assert expand_tasks(["imagenet-recon-native", "table10", "table8"]) == [
        "imagenet-recon-native",
        "coco-recon",
        "coco-recon-native",
        "imagenet-recon",
    ]


def test_task_wins_over_a_group_of_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TASKS, "_registered", dict(TASKS._registered))
    TASKS.register("table8")(SimpleNamespace(spec=SimpleNamespace(groups=())))
    assert expand_tasks(["table8"]) == ["table8"]


@pytest.mark.parametrize(
    ("name", "hint"), [("imagenet-recom", "'imagenet-recon'"), ("tabel8", "'table8'")]
)
def test_unknown_task_or_group_suggests(name: str, hint: str) -> None:
    with pytest.raises(UserError, match=f"unknown task '{name}': did you mean .*{hint}"):
        expand_tasks([name])


@pytest.mark.parametrize("name", ["a:b", "a?b", "a,b", "", 3])
def test_names_that_no_command_line_could_say_are_refused(name: object) -> None:
    with pytest.raises(UserError, match="a name is a text without"):
        MODELS.register(name)  # type: ignore[arg-type]
