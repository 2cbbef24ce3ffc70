"""The judge's prompts, read from where their authors' texts ship; none of them is kept here."""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from harness.data import assets
from harness.interfaces.errors import Unavailable, UserError
from tasks.gedit.settings import PromptDigests

ASSET = "gedit-prompts"
_FILE = "tasks/gedit_bench/viescore/vie_prompts.py"
_PARTS = {
    "semantics": (
        "_context_no_delimit",
        "_prompts_0shot_two_image_edit_rule",
        "_prompts_0shot_tie_rule_SC",
    ),
    "quality": ("_context_no_delimit", "_prompts_0shot_rule_PQ"),
}
_PLACE = "<instruction>"


@dataclass(frozen=True, slots=True)
class Prompts:
    """What a judge is asked."""

    semantics: str
    quality: str

    def about(self, instruction: str) -> str:
        """The prompt on whether the instruction was followed."""
        return self.semantics.replace(_PLACE, instruction)


def read_prompts(expected: PromptDigests) -> Prompts:
    """The texts that the protocol names, from the fetched file or the installed lmms-eval.

    Raises:
        UserError: They are not on this machine, or are not the protocol's.
    """
    path = _find()
    constants = _constants(path)
    try:
        texts = {
            name: "\n".join(constants[part] for part in parts) for name, parts in _PARTS.items()
        }
    except KeyError as error:
        raise UserError(f"{path} has no prompt {error}: install lmms-eval 0.7.3") from error
    for name, text in texts.items():
        digest = hashlib.sha256(text.encode()).hexdigest()
        if digest != getattr(expected, name):
            raise UserError(
                f"{path}: the {name} prompt is not the protocol's (SHA-256 {digest[:12]}…, "
                f"expected {getattr(expected, name)[:12]}…): run `uwt-eval assets fetch {ASSET}`"
            )
    return Prompts(**texts)


def _find() -> Path:
    try:
        return assets.locate(ASSET)
    except Unavailable:
        spec = find_spec("lmms_eval")  # Finds the package without importing it.
        for folder in () if spec is None else spec.submodule_search_locations or ():
            if (path := Path(folder) / _FILE).is_file():
                return path
        raise UserError(
            "the judge's prompts are not on this machine: install the extra with "
            f'`pip install "uwt-eval[vqa]"`, or run `uwt-eval assets fetch {ASSET}`'
        ) from None


def _constants(path: Path) -> dict[str, str]:
    """The texts that a Python file assigns, read without running it."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path} cannot be read: install lmms-eval 0.7.3 again") from error
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
