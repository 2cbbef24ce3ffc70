"""Settings from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.data.settings import Settings


def test_defaults_name_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UWT_EVAL_OFFLINE")
    settings = Settings()
    assert settings.imagenet is None
    assert settings.coco is None
    assert settings.assets is None
    assert settings.out == Path("runs")
    assert settings.offline is False


def test_environment_is_read_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UWT_EVAL_IMAGENET", "/data/imagenet")
    monkeypatch.setenv("UWT_EVAL_OUT", "/scratch/runs")
    settings = Settings()
    assert settings.imagenet == "/data/imagenet"
    assert settings.out == Path("/scratch/runs")
    assert settings.offline is True


def test_empty_variable_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UWT_EVAL_IMAGENET", "")
    assert Settings().imagenet is None
