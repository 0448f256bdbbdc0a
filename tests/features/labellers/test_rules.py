"""Rule labels: planted rules are recovered, no label contradicts its evidence, and refusals."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyscope.envs.metric import Words
from policyscope.errors import InvalidInput, NotFinite
from policyscope.features.label import LABELLERS, Evidence
from policyscope.features.labellers.rules import RuleLabeller

WORDS = {
    "x": Words("cart {not} {far} left", "cart {not} {far} right"),
    "v": Words("cart {not} moving left {fast}", "cart {not} moving right {fast}"),
}
STEPS, EPISODES = 4000, 40


def evidence(seed=0, offset=0.0):
    generator = np.random.default_rng(seed)
    metrics = generator.normal(offset, 1.5, size=(STEPS, 2))
    return Evidence(("x", "v"), metrics, np.arange(STEPS) * EPISODES // STEPS, WORDS)


def test_a_planted_rule_is_recovered():
    seen = evidence()
    x, v = seen.metrics.T
    codes = np.where((x > 0.9) & (v > 1.2), 1.0 + x, 0.0)
    label = RuleLabeller(seen).label(codes)
    assert label.text == "cart moving right and cart right"
    found = re.fullmatch(
        r"(?:x > ([\d.]+)|v > ([\d.]+)) and (?:x > ([\d.]+)|v > ([\d.]+))", label.rule
    )
    assert found is not None
    limits = dict(re.findall(r"([xv]) > ([\d.]+)", label.rule))
    # Thresholds come from quantiles about 0.15 apart here.
    assert float(limits["x"]) == pytest.approx(0.9, abs=0.15)
    assert float(limits["v"]) == pytest.approx(1.2, abs=0.15)
    assert label.precision > 0.8
    assert label.recall > 0.8
    assert label.auroc > 0.98
    assert label.target == "activation > 0"
    assert label.support > 50
    assert label.status == "guess"


def test_a_band_is_called_near_neutral():
    seen = evidence()
    label = RuleLabeller(seen).label(np.maximum(0.4 - np.abs(seen.metrics[:, 0]), 0))
    assert label.text == "x near 0"
    assert re.fullmatch(r"-0\.\d+ < x <= 0\.\d+", label.rule)
    assert label.precision > 0.8
    assert label.recall > 0.8


def test_a_dense_feature_is_labelled_by_its_strong_firing():
    seen = evidence()
    label = RuleLabeller(seen).label(seen.metrics[:, 1] + 10)
    assert label.text == "cart moving right fast"
    assert label.target.endswith("(its 90th percentile)")
    assert label.precision > 0.9
    assert label.recall > 0.9


def test_a_dense_binary_feature_is_labelled_by_its_maximum():
    seen = evidence()
    label = RuleLabeller(seen).label((seen.metrics[:, 0] > 0).astype(float))
    assert (label.text, label.rule) == ("cart right", "x > 0")
    assert label.target == "activation > 0 (only its maximum)"


def test_noise_has_no_clear_rule():
    labeller = RuleLabeller(evidence())
    generator = np.random.default_rng(1)
    for _ in range(20):
        label = labeller.label((generator.random(STEPS) < 0.1).astype(float))
        assert label.text.startswith("no clear rule over these metrics")
        # 1,200 held-out steps: sd of the AUROC of noise with 120 events is about 0.028.
        assert np.isnan(label.auroc) or abs(label.auroc - 0.5) < 0.12


def test_the_scores_are_of_the_held_out_episodes():
    seen = evidence()
    codes = (seen.metrics[:, 0] > 2.0).astype(float)
    # On the held-out episodes the feature does the opposite of what it did in training.
    flipped = np.where(seen.held_out, (seen.metrics[:, 0] < -2.0).astype(float), codes)
    label = RuleLabeller(seen).label(flipped)
    assert label.text == (
        "no clear rule over these metrics; the best, cart far right, does not hold"
    )
    assert label.note == "no better than chance on held-out episodes"
    assert label.precision == 0.0
    assert label.recall == 0.0
    assert label.auroc < 0.05


def test_features_with_nothing_to_say_say_so():
    seen = evidence()
    labeller = RuleLabeller(seen)
    dead, constant = labeller.label(np.zeros(STEPS)), labeller.label(np.full(STEPS, 2.0))
    rare = labeller.label(np.eye(STEPS)[np.flatnonzero(~seen.held_out)[0]])
    assert str(dead) == "never active (not once in 4,000 steps)"
    assert str(constant) == "always equally active (2 on every step)"
    assert str(rare) == "too rarely active to label (1 steps in 1 episodes to learn from)"
    assert np.isnan([dead.precision, constant.recall, rare.auroc]).all()


def test_no_held_out_firing_is_not_scored():
    seen = evidence()
    codes = np.where(seen.held_out, 0.0, seen.metrics[:, 0] > 2.0)
    label = RuleLabeller(seen).label(codes)
    assert label.text == "cart far right"
    assert label.note == "none of the 1,200 held-out steps have activation > 0; not scored"
    assert np.isnan(label.precision)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), offset=st.sampled_from([-3.0, -0.5, 0.0, 0.5, 3.0]))
def test_a_label_never_contradicts_the_sign_of_its_evidence(seed, offset):
    generator = np.random.default_rng(seed)
    seen = evidence(seed, offset)
    hidden = np.tanh(seen.metrics @ generator.normal(size=(2, 6)) + generator.normal(size=6))
    codes = np.maximum(hidden @ generator.normal(size=6) - generator.uniform(-1, 2), 0)
    label = RuleLabeller(seen).label(codes)
    threshold = re.match(r"activation > ([\d.e+-]+)", label.target)
    assert threshold is not None
    train = ~seen.held_out
    # The printed target has three digits; take the training 90th percentile itself.
    dense = "90th" in label.target
    limit = np.quantile(codes[train], 0.9, method="lower") if dense else float(threshold[1])
    for part in label.rule.split(" and ") if label.rule else []:
        name = "x" if "x" in part else "v"
        values = seen.metrics[train, 0 if name == "x" else 1]
        active = values[codes[train] > limit]
        if match := re.fullmatch(r". > (\S+)", part):
            assert active.mean() > values.mean()
            assert float(match[1]) < 0 or active.mean() > 0
        elif match := re.fullmatch(r". <= (\S+)", part):
            assert active.mean() < values.mean()
            assert float(match[1]) > 0 or active.mean() < 0
        else:
            assert active.std() < values.std()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_all_features_at_once_are_labelled_as_one_by_one(seed):
    seen = evidence(seed)
    codes = np.maximum(seen.metrics @ np.array([[1.0, -1.0, 0.5], [0.5, 0.2, -2.0]]) - 1, 0)
    labeller = RuleLabeller(seen)
    together = labeller.label_all(codes)
    assert together == tuple(labeller.label(codes[:, i].copy()) for i in range(3))


def test_a_constant_metric_is_never_spoken_of():
    seen = evidence()
    metrics = np.concatenate([seen.metrics[:, :1], np.full((STEPS, 1), 3.0)], axis=1)
    still = Evidence(("x", "v"), metrics, seen.episode, WORDS)
    assert RuleLabeller(still).label(np.maximum(metrics[:, 0] - 1, 0)).text == "cart right"


def test_bad_codes_are_refused():
    labeller = LABELLERS.get("rules")(evidence())
    with pytest.raises(InvalidInput, match="Got 3 activations for 4000 steps"):
        labeller.label(np.zeros(3))
    with pytest.raises(NotFinite, match="NaN or Inf"):
        labeller.label(np.full(STEPS, np.nan))
