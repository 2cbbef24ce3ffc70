"""The directions compare what is measured, between arms that differ as the paper's tables do."""

from __future__ import annotations

import pytest

from uniwetok.presets import get
from uniwetok.studies.claims import CLAIMS, TABLES, Claim
from uniwetok.studies.measure import METRICS
from uniwetok.studies.settings import ARMS, MiniSettings
from uniwetok.train import TrainingError

SETTINGS = MiniSettings(steps=7, batch_size=3)


def measured_of(name: str) -> set[str]:
    """Metrics that an arm has, by its settings."""
    arm = ARMS[name]
    distillation = arm.config(SETTINGS, 0).loss.distillation
    missing = set()
    if distillation is None or not distillation.pre:
        missing |= {"pre_cosine", "pre_top1"}
    if distillation is None or not distillation.post:
        missing |= {"post_cosine", "post_top1"}
    if not arm.generates:
        missing.add("prior_loss")
    return set(METRICS) - missing


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.text)
def test_every_term_is_measured_and_a_shared_shift_cancels(claim: Claim) -> None:
    for term in claim.terms:
        assert term.metric in measured_of(term.arm)
    assert sum(term.weight for term in claim.terms) == 0


def test_all_tables_and_arms_are_used() -> None:
    assert TABLES == ("table1", "table2", "table3", "table4", "table5")
    assert {arm for claim in CLAIMS for arm in claim.arms} == set(ARMS)


def test_arms_are_the_papers_but_small() -> None:
    for arm in ARMS.values():
        ours, paper = arm.config(SETTINGS, 4), get(arm.preset).config
        assert (ours.steps, ours.batch_size, ours.seed) == (7, 3, 4)
        assert ours.model.bottleneck == paper.model.bottleneck
        assert (ours.prior is None) == (paper.prior is None)
        if not arm.changes:
            assert ours.model.siglu == paper.model.siglu
            assert ours.loss.distillation == paper.loss.distillation
            assert ours.loss.commitment_weight == paper.loss.commitment_weight


def test_arms_of_one_table_differ_in_one_thing() -> None:
    config = {name: arm.config(SETTINGS, 0) for name, arm in ARMS.items()}
    assert config["no-ppd"].model == config["ppd"].model == config["gap"].model
    assert config["gap"].loss == config["ppd"].loss
    with_query, without = config["gap"].prior, config["gap-no-query"].prior
    assert with_query is not None
    assert without is not None
    assert (with_query.query, without.query) == (True, False)
    post, bare = config["post"], config["post-no-siglu"]
    assert post.loss.distillation == bare.loss.distillation
    assert (post.model.siglu, bare.model.siglu) == (True, False)
    assert (post.loss.commitment_weight, bare.loss.commitment_weight) == (0, 0.25)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"crops": 0}, {"heldout": 1.0}], ids=lambda wrong: next(iter(wrong))
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(TrainingError, match=next(iter(wrong))):
        MiniSettings(**wrong)  # type: ignore[arg-type]
