"""What a person sees: a row a model, the published rows marked, and why a cell is empty."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from rich.console import Console
from rich.table import Table

from harness.commands.console import label, print_results, print_table, terminal
from harness.interfaces import Label, Labelled
from harness.interfaces.registry import METRICS
from harness.interfaces.types import MetricValue, ReferenceRow, ResultRecord, RunStatus
from tests.conftest import CommandLine


def record(**changes: Any) -> ResultRecord:
    fields: dict[str, Any] = {
        "run_id": "r",
        "task": "imagenet-recon",
        "task_version": 1,
        "model": "webp",
        "model_digest": "",
        "protocol": "exact",
        "protocol_digest": "",
        "dataset": "sample-set",
        "dataset_digest": "",
        "seed": 0,
        "n": 48,
        "n_failed": 0,
        "status": RunStatus.COMPLETE,
        "metrics": {
            "psnr": MetricValue(
                value=26.123, ci_low=25.1, ci_high=27.1, n=48, higher_is_better=True
            ),
            "rfid": MetricValue.absent("not computed: weights missing", higher_is_better=False),
            "usage_pooled": MetricValue(value=0.973, n=48, higher_is_better=True),
            "usage_joint": MetricValue.absent("not applicable: no codebook"),
        },
        "provenance": {"images_per_second": 12.345},
    }
    return ResultRecord(**{**fields, **changes})


def printed(*records: ResultRecord, references: tuple[ReferenceRow, ...] = (), width: int) -> str:
    text = io.StringIO()
    print_results(Console(file=text, width=width, color_system=None), records, references)
    return text.getvalue()


def test_values_arrows_counts_and_speed() -> None:
    text = printed(record(), width=160)
    for part in ("webp", "PSNR↑", "26.12", "rFID↓", "97.3%", "48", "12.3", "imagenet-recon"):
        assert part in text


def test_intervals_stand_beside_values_or_below_them() -> None:
    assert "26.12 ±1.00" in printed(record(), width=160)
    narrow = printed(record(), width=50)
    assert "26.12" in narrow
    assert "±1.00" in narrow
    assert "26.12 ±" not in narrow
    assert "± is half of the 95% interval" in narrow


@pytest.mark.parametrize("width", [30, 40, 60, 80, 160])
def test_no_name_is_cut_and_nothing_is_wider_than_the_terminal(width: int) -> None:
    names = ["uniwetok-nano", "webp?bytes=1024"]
    rows = ReferenceRow(label="paper", source="Tab. 8", n=50_000, values={"psnr": 23.26})
    text = printed(*(record(model=name) for name in names), references=(rows,), width=width)
    for name in (*names, "paper Tab. 8*"):
        assert any(line.strip().startswith(name) for line in text.splitlines()), text
    table = text.split("\nno room")[0].split("\n* published")[0]
    assert max(map(len, table.splitlines())) <= width
    assert "…" not in text


def test_columns_go_by_their_importance() -> None:
    """First those without a value, then counts and speed, then metrics from the end."""
    assert "rFID↓" in printed(record(), width=60)
    narrow = printed(record(), width=30)
    assert "rFID↓" not in narrow
    assert "no room for images/s: see" in narrow
    assert "· n 48" in narrow.replace("\n", " ")
    assert "PSNR↑" in narrow
    assert f"no room for {label('usage_pooled').title}" in printed(record(), width=22).replace(
        "\n", " "
    )


def test_a_pipe_gets_the_table_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal there is no width to keep to, unless COLUMNS states one."""
    monkeypatch.delenv("COLUMNS", raising=False)
    cells = {f"metric_{number}": MetricValue(value=number / 7, n=48) for number in range(30)}
    text = io.StringIO()
    print_results(terminal(file=text), [record(metrics=cells)])
    assert all(f"metric_{number}" in text.getvalue().splitlines()[2] for number in range(30))
    table, text = Table("choice", "moves by"), io.StringIO()
    table.add_row(60 * "c", "+0.00392 ±" + 30 * "0")
    print_table(terminal(file=text), table, None)
    assert f"{60 * 'c'} │ +0.00392 ±{30 * '0'}" in text.getvalue()
    assert not [line for line in text.getvalue().splitlines() if line.endswith(" ")]


def test_a_table_in_a_pipe_is_neither_cut_nor_padded(
    uwt_eval: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    image = tmp_path / f"{100 * 'a'}" / "1.png"
    image.parent.mkdir()
    Image.new("RGB", (200, 200)).save(image)
    words = ("--metrics", "ms_ssim,rfid", "--device", "cpu", "--quiet")
    shown = uwt_eval("metrics", image.parent, image.parent, *words).out.splitlines()
    assert not [line for line in shown if line.endswith(" ")]
    assert len([line for line in shown if "run `uwt-eval assets fetch inception`" in line]) == 1
    table = uwt_eval("report", "table8").out
    assert table.count("Codebook Usage") == table.count(" Method ") == 1


def test_empty_cells_say_why_once() -> None:
    text = printed(record(), record(model="jpeg"), width=160)
    assert text.count("not computed: weights missing") == 1
    assert "— rFID" in text


def test_empty_cells_name_their_model_among_several() -> None:
    cells = {**record().metrics, "rfid": MetricValue(value=0.5, n=48, higher_is_better=False)}
    text = printed(record(), record(model="jpeg", metrics=cells), width=160)
    assert "— rFID of webp: not computed: weights missing" in text
    assert f"— {label('usage_joint').title}: not applicable: no codebook" in text


def test_a_column_for_which_there_is_no_room_is_not_explained() -> None:
    cells = {**record().metrics, "usage_joint": MetricValue(value=0.5, n=48)}
    records = record(), record(model="uniwetok-nano", metrics=cells)
    assert "— joint of webp: not applicable" in printed(*records, width=160)
    assert "joint" not in printed(*records, width=62)


def test_samples_that_a_figure_leaves_out_are_told() -> None:
    out = "47 identical images (infinite) left out"
    cells = {**record().metrics, "psnr": MetricValue(value=10.5, n=1, note=out)}
    text = printed(record(metrics=cells), record(model="jpeg"), width=160)
    assert "10.50†" in text
    assert f"† PSNR of webp: over 1 of 48 samples, {out}" in text
    assert "26.12†" not in text
    assert "†" not in printed(record(), width=160)


def test_optional_columns_show_only_where_some_model_has_them() -> None:
    assert label("usage_joint").title not in printed(record(), width=160).split("\n—")[0]
    cells = {**record().metrics, "usage_joint": MetricValue(value=0.5, n=48)}
    assert "50.0%" in printed(record(), record(metrics=cells), width=160)


def test_published_row_is_marked_as_other_data() -> None:
    row = ReferenceRow(label="paper", source="Tab. 8", n=50_000, values={"psnr": 23.26})
    text = printed(record(), references=(row,), width=160)
    assert "paper Tab. 8*" in text
    assert "23.26" in text
    assert "other data, not comparable" in text


def test_published_row_of_as_many_images_is_not_marked() -> None:
    row = ReferenceRow(label="paper", source="Tab. 8", n=50_000, values={"psnr": 23.26})
    text = printed(record(n=50_000), references=(row,), width=160)
    assert "paper Tab. 8 " in text
    assert "not comparable" not in text


def test_failures_are_counted_below_the_table() -> None:
    failed = record(n_failed=2, failures={"decode_error": 2}, status=RunStatus.INCOMPLETE)
    text = printed(failed, width=160)
    assert "46/48" in text
    assert "webp: incomplete, 2 of 48 samples failed (2 decode_error)" in text


def test_no_columns_are_taken_for_eighty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some shells export COLUMNS=0, in which nothing could be seen."""
    monkeypatch.setenv("COLUMNS", "0")
    assert terminal().width == 80


def test_names_are_not_read_as_markup() -> None:
    assert "my[bold]model" in printed(record(model="my[bold]model"), width=160)
    assert "in [red] folders" in printed(record(dataset="in [red] folders"), width=160)


def test_unknown_metric_has_its_own_name_and_three_digits() -> None:
    assert label("new_metric").title == "new_metric"
    assert label("new_metric").text(0.12345) == "0.123"


def test_a_plug_in_says_how_its_metric_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METRICS, "_registered", dict(METRICS._registered))
    METRICS.register("plain")(SimpleNamespace(needs=(), higher_is_better=True))
    METRICS.register("hits")(SimpleNamespace(needs=(), label=Label("Hits", 1, percent=True)))
    assert label("plain").text(0.5) == "0.500"
    assert (label("hits").title, label("hits").text(0.5)) == ("Hits", "50.0%")


def test_every_metric_that_ships_has_a_label() -> None:
    assert [name for name in METRICS.names() if not isinstance(METRICS.get(name), Labelled)] == []


def test_pieces_of_a_line_keep_their_spaces(capsys: pytest.CaptureFixture[str]) -> None:
    """A reply is printed as it comes; only whole lines lose the spaces at their end."""
    console = terminal()
    for piece in ("two ", "words  \nand ", "more  \n"):
        console.print(piece, end="", markup=False, highlight=False, soft_wrap=True)
    assert capsys.readouterr().out == "two words\nand more\n"
