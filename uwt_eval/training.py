"""Evaluation inside a training: every so many steps, for plain loops, accelerate and Lightning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.interfaces.errors import UserError
from uwt_eval.api import AnyModel, evaluate
from uwt_eval.results import Results


class Every:
    """Evaluates at every so many steps; nothing of the training's modules or streams is changed.

    In a loop of your own, call it with the step and, under accelerate, in the main process alone:
    `if accelerator.is_main_process: checks(step, model)`. As a Lightning callback it does so by
    itself, and logs each figure as `uwt/METRIC`.

    Args:
        steps: How many lie between two evaluations.
        task: As for `evaluate`.
        model: Makes what is evaluated of the module that is trained, such as
            `lambda module: uwt_eval.tokenizer(module, name="mine")`; the module itself if None.
        options: As for `evaluate`: data, limit, metrics …

    Attributes:
        results: By step.

    Raises:
        UserError: `steps` is below 1.
    """

    def __init__(
        self,
        steps: int,
        task: str,
        model: Callable[[Any], AnyModel] | None = None,
        **options: Any,
    ) -> None:
        if steps < 1:
            raise UserError(f"an evaluation every {steps} steps: give 1 or more")
        self._steps = steps
        self._task = task
        self._model = model
        self._options: Mapping[str, Any] = {"progress": False, **options}
        self.results: dict[int, Results] = {}

    def __call__(self, step: int, model: Any) -> Results | None:
        """Evaluate the model where it is the step's turn; steps count from 1."""
        if step < 1 or step % self._steps or step in self.results:
            return None
        import torch

        chosen = model if self._model is None else self._model(model)
        # A model that draws without a generator of its own would take the training's numbers.
        with torch.random.fork_rng():
            self.results[step] = evaluate(self._task, chosen, **self._options)
        return self.results[step]

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Lightning's hook."""
        del outputs, batch, batch_idx
        found = self(trainer.global_step, pl_module) if trainer.is_global_zero else None
        for record in found.records if found else ():
            values = {f"uwt/{key}": record.value(key) for key in record.metrics}
            pl_module.log_dict(
                {key: value for key, value in values.items() if value is not None},
                rank_zero_only=True,
            )

    def __getattr__(self, name: str) -> Callable[..., None]:
        # Lightning calls every hook of a callback, of which all but one do nothing here.
        if name.startswith(("on_", "setup", "teardown")):
            return lambda *_, **__: None
        raise AttributeError(name)

    @property
    def state_key(self) -> str:
        """What Lightning tells callbacks apart by, of which several may evaluate."""
        return f"{type(self).__name__}({self._task}, {self._steps})"

    _legacy_state_key = state_key  # By which it looks up checkpoints of before 1.5.

    def state_dict(self) -> dict[str, Any]:
        """Nothing: what was evaluated lies in the run directories."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to load."""
