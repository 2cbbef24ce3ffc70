"""What lmms-eval finds under its entry point `lmms_eval.models`."""

from __future__ import annotations

from typing import Any


def manifests() -> list[Any]:
    """The models `uniwetok_chat` and `uwt`."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return [
        ModelManifest("uniwetok_chat", simple_class_path="tasks.vqa.lmms_model.UniWeTokChat"),
        ModelManifest("uwt", simple_class_path="tasks.vqa.lmms_model.HarnessModel"),
    ]
