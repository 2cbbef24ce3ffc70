"""Processes on machines that differ: what would move a number is named before anything is begun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.engine.agreement import agree, differences, facts_of
from harness.engine.plan import make_plan
from harness.engine.run_file import RunFile
from harness.engine.world import World
from harness.interfaces.errors import UserError
from harness.interfaces.types import ModelCard
from tests.harness.toys import Control, request


def changed(file: RunFile, **fields: Any) -> RunFile:
    return file.model_copy(update=fields)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"model": ModelCard(name="toy", weights_sha256="0" * 64)}, "model toy"),
        ({"provenance": {"packages": {"torch": "2.5.0"}}}, "package torch 2.5.0, not none"),
        ({"provenance": {"code": {"commit": "a" * 40, "dirty": True}}}, "commit aaaaaaaaaaaa with"),
        ({"extractors": {"pixels": {"window": "other"}}}, "extractor pixels"),
        ({"extractors": {}, "unavailable": {"pixels": "lost"}}, "extractor pixels unavailable"),
    ],
)
def test_another_machine_is_named_by_what_differs(
    fields: dict[str, Any],
    named: str,
    tiles: Path,
    control: Control,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = make_plan(request(tiles), World()).file
    monkeypatch.setattr(World, "broadcast", lambda *_: facts_of(file))
    second = World(rank=1, size=2)
    agree(file, second)
    with pytest.raises(UserError, match=f"^the machine of process 1 would do other work.*{named}"):
        agree(changed(file, **fields), second)


def test_the_place_of_data_and_the_gpu_of_a_process_are_no_difference(
    tiles: Path, control: Control
) -> None:
    file = make_plan(request(tiles), World()).file
    one, other = (
        changed(file, dataset=name, provenance={"machine": {"device": f"cuda:{at}", "cpus": at}})
        for at, name in enumerate(["here", "there"])
    )
    assert differences(facts_of(one), facts_of(other)) == ""
