"""What lmms-eval's task files say, read from a folder that is like its own: no code of it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.interfaces.errors import UserError
from harness.interfaces.registry import METRICS, TASKS
from tasks.vqa import any_task, lmms_files
from tasks.vqa.answers import Row, observed
from tasks.vqa.lmms_code import Function, reached, shows_nothing
from tasks.vqa.suites import suite_named
from tests.conftest import CommandLine

FILES = {
    "signs/_template_yaml": """
dataset_path: hub/Signs
output_type: generate_until
test_split: test
doc_to_visual: !function utils.visual
process_results: !function utils.score
generation_kwargs:
  max_new_tokens: 8
  do_sample: false
metric_list:
  - metric: hits
    aggregation: mean
    higher_is_better: true
  - metric: misses
    aggregation: !function utils.fold
    higher_is_better: false
""",
    "signs/red.yaml": """
include: _template_yaml
task: signs_red
tag: signs_tag
dataset_name: red
""",
    "signs/blue.yaml": """
include: _template_yaml
task: signs_blue
tag: [signs_tag]
dataset_name: blue
filter_list:
  - name: strict
    filter: [{function: take_first}]
  - name: loose
    filter: [{function: take_first}]
""",
    "signs/group.yaml": """
group: signs
task: [signs_red, {group: inner, task: [signs_blue]}]
aggregate_metric_list: [{metric: hits, weight_by_size: true}]
""",
    "signs/utils.py": """
raise RuntimeError("imported")
""",
    "odd/likely.yaml": """
task: likely
output_type: multiple_choice
dataset_path: a/b
test_split: test
""",
    "odd/mixed.yaml": "group: mixed\ntask: [signs_red, likely]\n",
    "odd/hot.yaml": """
include: ../signs/_template_yaml
task: hot
generation_kwargs: {do_sample: true, temperature: 0.7}
""",
    "odd/judged.yaml": """
include: ../signs/_template_yaml
task: judged
process_results: !function code.score
""",
    "odd/code.py": """
import os

import no_such_package
from lmms_eval.tasks.odd.asking import ask

UNUSED = os.getenv("UNUSED_API_KEY")


def score(doc, results):
    return {"hits": ask(results[0])}
""",
    "odd/asking.py": """
import os

try:
    import another_missing_package
except ImportError:
    pass


def _key():
    return os.getenv("SIGNS_API_KEY", "YOUR_API_KEY")


def ask(text):
    return len(_key())
""",
    "art/paint.yaml": """
task: paint
dataset_path: hub/Paint
test_split: test
doc_to_visual: !function utils.nothing
process_results: !function utils.look
metric_list: [{metric: beauty, aggregation: mean, higher_is_better: true}]
generation_kwargs: {do_sample: true, temperature: 1}
""",
    "art/retouch.yaml": "include: paint.yaml\ntask: retouch\ndoc_to_visual: !function utils.one\n",
    "art/utils.py": """
import json


def nothing(doc):
    return []


def one(doc):
    return [doc["image"]]


def look(doc, results):
    pred = json.loads(results[0])
    return {"beauty": len(pred.get("images", []))}
""",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = tmp_path / "lmms_eval" / "tasks"
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for module in (lmms_files, any_task):
        monkeypatch.setattr(module, "tasks_folder", lambda: root)
    lmms_files.catalogue.cache_clear()
    yield root
    lmms_files.catalogue.cache_clear()


def test_a_task_is_described_by_its_files(folder: Path) -> None:
    spec = TASKS.get("lmms:signs_blue").spec
    assert (spec.name, spec.kind, spec.interface) == ("lmms:signs_blue", "lmms", "MultimodalLM")
    assert spec.dataset == "hub/Signs:blue"
    assert spec.metrics == (
        "lmms:signs_blue/hits/strict",
        "lmms:signs_blue/misses/strict",
        "lmms:signs_blue/hits/loose",
        "lmms:signs_blue/misses/loose",
    )
    assert METRICS.get("lmms:signs_blue/misses/loose").higher_is_better is False
    assert METRICS.get("lmms:signs_red/hits").higher_is_better is True


def test_groups_and_tags_are_their_tasks(folder: Path) -> None:
    spec = TASKS.get("lmms:signs").spec
    assert spec.dataset == "hub/Signs:red and 1 more"
    assert spec.metrics[:3] == ("lmms:signs/hits", "lmms:signs_red/hits", "lmms:signs_red/misses")
    assert METRICS.get("lmms:signs/hits").higher_is_better is True
    tagged = lmms_files.catalogue().members("signs_tag")
    assert {task.name for task in tagged} == {"signs_red", "signs_blue"}
    assert "lmms:signs/hits" not in TASKS.get("lmms:signs_tag").spec.metrics


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("likely", "cannot be run: it compares likelihoods of given answers"),
        ("mixed", "cannot be run: likely: it compares likelihoods"),
        ("hot", "cannot be run: it samples replies at temperature 0.7"),
        ("sings_red", "did you mean 'signs_red'"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(
    folder: Path, name: str, message: str, uwt_eval: CommandLine
) -> None:
    with pytest.raises(UserError, match=message):
        TASKS.get(f"lmms:{name}")
    assert f"lmms:{name}" not in TASKS
    result = uwt_eval("run", f"lmms:{name}", "--model", "webp")
    assert result.code == 2
    assert message in " ".join(result.err.split())


@pytest.mark.parametrize("name", ["sings_red", "likely"])
def test_show_says_of_a_wrong_name_what_run_says(
    folder: Path, name: str, uwt_eval: CommandLine
) -> None:
    """Models are called `lmms:NAME` too."""
    shown = uwt_eval("show", f"lmms:{name}")
    assert shown.code == 2
    assert shown.err == uwt_eval("run", f"lmms:{name}", "--model", "webp").err


def test_show_tells_of_models_where_no_task_is_as_near(folder: Path, uwt_eval: CommandLine) -> None:
    pytest.importorskip("lmms_eval.models")
    told = uwt_eval("show", "lmms:qwen2_5_vll").err
    assert "lmms-eval has no model 'qwen2_5_vll': did you mean 'qwen2_5_vl'" in told


def test_what_draws_is_known_by_how_replies_are_read(folder: Path) -> None:
    assert TASKS.get("lmms:paint").spec.interface == "TextToImage"
    assert TASKS.get("lmms:retouch").spec.interface == "ImageEditor"
    assert shows_nothing(Function(folder / "art" / "utils.py", "nothing"))


def test_keys_and_packages_are_found_through_modules(folder: Path) -> None:
    found = reached(frozenset([Function(folder / "odd" / "code.py", "score")]))
    assert found.keys == {"SIGNS_API_KEY"}
    assert found.packages == {"no_such_package"}
    assert not found.draws


def test_the_list_says_what_is_needed_and_what_is_here(
    folder: Path, uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "hub" / "datasets--hub--Signs").mkdir(parents=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    listed = json.loads(uwt_eval("list", "lmms", "--json").out)["lmms"]
    assert listed["lmms:signs_red"] == "answers: hub/Signs:red; data here"
    assert listed["lmms:paint"] == "draws: hub/Paint"
    assert listed["lmms:retouch"] == "edits: hub/Paint"
    assert listed["lmms:judged"] == (
        "answers: hub/Signs; a judge's SIGNS_API_KEY; needs no_such_package; data here"
    )
    assert listed["lmms:likely"].startswith("refused: it compares likelihoods")
    assert "lmms:signs" in listed
    (line,) = [each for each in uwt_eval("list", "lmms").out.splitlines() if ":signs_red " in each]
    assert line.split(maxsplit=1) == ["lmms:signs_red", "answers: hub/Signs:red; data here"]
    everything = json.loads(uwt_eval("list", "--json").out)
    assert "lmms" not in everything
    assert uwt_eval("show", "lmms:signs_red").code == 0


def test_a_missing_key_ends_the_command_before_it_begins(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (task,) = lmms_files.catalogue().members("judged")
    monkeypatch.delenv("SIGNS_API_KEY", raising=False)
    assert task.missing_keys == ["SIGNS_API_KEY"]
    monkeypatch.setenv("SIGNS_API_KEY", "any")
    assert task.missing_keys == []
    with pytest.raises(UserError, match="lmms:judged: lmms-eval's code imports no_such_package"):
        any_task.task("judged")._check_needs()


@pytest.mark.parametrize(("scores", "marked"), [((0.0, 1.0), True), ((1.0, 4.0), False)])
def test_replies_are_right_or_wrong_where_scores_are_shares(
    folder: Path, scores: tuple[float, ...], marked: bool
) -> None:
    figure = "signs_red/hits"
    rows = [
        Row(
            id=str(place),
            question="?",
            document={},
            task="signs_red",
            results={figure: {"score": score}},
        )
        for place, score in enumerate(scores)
    ]
    suite = suite_named("lmms:signs_red")
    seen = observed(suite, rows, figures={figure: {"mean": True}}).columns["answers"]
    assert list(seen[f"lmms:{figure}"]) == list(scores)
    assert [score == score for score in seen["score"]] == [marked] * 2
