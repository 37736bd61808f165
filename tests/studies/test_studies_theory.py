"""The studies of scores themselves: what GraNd at initialisation is, and why EL2N stands for GraNd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_contexts import assert_drawn, outcomes, small_context
from torch import nn

import datadiet as dd
from datadiet.studies import STUDIES
from datadiet.studies.init_correlation import spearman
from datadiet.studies.toolbox.context import StudyContext
from datadiet.studies.toolbox.protocol import StudyResult, carry_out
from datadiet.studies.why_el2n import changes_of_a_step, logit_gradients
from tiny_models import small_recipe


def directions(lengths: str) -> dd.Examples:
    """Random directions with lengths that vary by factors, or features of plus and minus one."""
    generator = np.random.default_rng(3)
    if lengths == "varied":
        inputs = generator.normal(size=(200, 10))
        inputs *= np.exp(1.5 * generator.normal(size=(200, 1))) / np.linalg.norm(
            inputs, axis=1, keepdims=True
        )
    else:
        inputs = generator.choice([-1.0, 1.0], size=(200, 10))
    return dd.load((inputs.astype(np.float32), np.arange(200) % 2), name=lengths)


@pytest.mark.slow
def test_grand_at_initialisation_follows_norms_that_vary_and_not_those_that_are_equal(
    tiny_recipe, tmp_path
) -> None:
    found, recipe = {}, tiny_recipe.replace(model_options={"hidden": ()})
    for lengths in ("varied", "equal"):
        context = small_context(directions(lengths), recipe, tmp_path / lengths)
        result = carry_out(STUDIES["init-correlation"], context, tmp_path / lengths / "out")
        found[lengths] = outcomes(result)[0]
    assert found == {"varied": "holds", "equal": "fails"}


@pytest.mark.slow
def test_the_correlations_are_those_of_the_scores_beside_them(vectors, tiny_recipe, tmp_path) -> None:
    import pyarrow.parquet as pq

    context = small_context(vectors, tiny_recipe, tmp_path)
    result = carry_out(STUDIES["init-correlation"], context, tmp_path / "out")
    assert_drawn(result, ["init-correlation", "init-correlation-scatter"])
    table = pq.read_table(result.folder / "scores.parquet").to_pandas()
    assert table["id"].tolist() == context.setup.examples.train.ids.tolist()
    ranks = table.drop(columns="id").rank()
    assert len(result.rows) == 10
    for row in result.rows:
        expected = ranks[row["first"]].corr(ranks[row["second"]])
        assert row["spearman_of_means"] == pytest.approx(expected, abs=1e-9)
        models = 5 if {row["first"], row["second"]} == {"grand_init", "input_norm"} else 4
        assert row["models"] == models
    conclusion = STUDIES["init-correlation"].conclude(context, result.rows, {"scores": _scores(context)})
    for figure in conclusion.figures.values():
        assert all(axes.get_ylabel() for axes in figure.axes)


def _scores(context: StudyContext) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    count = len(context.setup.examples.train)
    return {n: rng.random((4, count)) for n in ("grand_init", "input_norm", "grand", "el2n", "forgetting")}


def test_infinite_scores_rank_last_and_constants_have_no_correlation() -> None:
    assert spearman(np.array([3.0, np.inf, 1.0]), np.array([2.0, 9.0, 1.0])) == 1.0
    assert spearman(np.ones(4), np.arange(4.0)) is None


def small_net() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator).double() * 0.6)
    inputs = torch.randn(9, 5, generator=generator).double()
    return model, inputs, torch.arange(9) % 3


def loss_gradients(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    rows = []
    for position in range(len(targets)):
        loss = F.cross_entropy(model(inputs[position : position + 1]), targets[position : position + 1])
        found = torch.autograd.grad(loss, list(model.parameters()))
        rows.append(torch.cat([gradient.reshape(-1) for gradient in found]).numpy())
    return np.stack(rows)


def test_products_of_loss_gradients_are_those_of_gradients_taken_one_by_one() -> None:
    model, inputs, targets = small_net()
    gradients = loss_gradients(model, inputs, targets)
    np.testing.assert_allclose(
        logit_gradients(model, inputs, targets).loss_gram, gradients @ gradients.T, rtol=1e-6, atol=1e-9
    )


def test_cosines_and_norms_are_those_of_logits_taken_one_by_one() -> None:
    model, inputs, targets = small_net()
    found = logit_gradients(model, inputs, targets)
    for position in (0, 4):
        rows = []
        for logit in range(3):
            taken = torch.autograd.grad(
                model(inputs[position : position + 1])[0, logit], list(model.parameters())
            )
            rows.append(torch.cat([gradient.reshape(-1) for gradient in taken]).numpy())
        lengths = np.linalg.norm(rows, axis=1)
        np.testing.assert_allclose(found.norms[position], lengths, rtol=1e-6)
        cosines = [rows[a] @ rows[b] / lengths[a] / lengths[b] for a, b in ((0, 1), (0, 2), (1, 2))]
        np.testing.assert_allclose(found.cosines[position], cosines, rtol=1e-5, atol=1e-9)


def test_a_small_real_step_changes_losses_by_the_products_of_the_gradients() -> None:
    model, inputs, targets = small_net()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    gradients = loss_gradients(model, inputs, targets)
    rate, removed = 1e-5, np.array([1, 6])
    done = changes_of_a_step(model, inputs, targets, rate, removed)
    expected = rate / len(targets) * (gradients @ gradients.T)[removed]
    np.testing.assert_allclose(done, expected, rtol=1e-3, atol=1e-11)
    norms = np.linalg.norm(gradients, axis=1)
    assert (np.abs(done) <= rate / len(targets) * norms[removed][:, None] * norms[None, :] * (1 + 1e-3)).all()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_real_step_is_what_two_steps_of_sgd_done_by_hand_give() -> None:
    model, inputs, targets = small_net()
    rate, left_out = 0.8, 3
    losses = []
    for keep in (range(9), [k for k in range(9) if k != left_out]):
        moved, *_ = small_net()
        total = sum(F.cross_entropy(moved(inputs[k : k + 1]), targets[k : k + 1]) for k in keep)
        taken = torch.autograd.grad(total, list(moved.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(moved.parameters(), taken, strict=True):
                parameter -= rate / 9 * gradient
            losses.append(F.cross_entropy(moved(inputs), targets, reduction="none").numpy())
    done = changes_of_a_step(model, inputs, targets, rate, np.array([left_out]))
    np.testing.assert_allclose(done[0], losses[1] - losses[0], rtol=1e-7, atol=1e-12)


@pytest.fixture(scope="module")
def why(vectors, tmp_path_factory) -> StudyResult:
    recipe = small_recipe(model_options={"hidden": ()}, lr=0.02)
    folder = tmp_path_factory.mktemp("why")
    return carry_out(STUDIES["why-el2n"], small_context(vectors, recipe, folder), folder / "out")


def test_every_pair_keeps_the_bound_and_a_linear_model_has_orthogonal_logits(why) -> None:
    assert all(0 < row["derivative_over_bound_max"] <= 1 + 1e-5 for row in why.rows)
    assert all(row["derivative_over_bound_mean"] < row["derivative_over_bound_max"] for row in why.rows)
    assert all(row["cosine"] < 1e-6 for row in why.rows)  # rows of the weight matrix share no parameter
    assert outcomes(why)[0] == "holds"
    assert outcomes(why)[2] == "undecided" and "cannot be seen" in str(why.findings[2].reason)
    assert_drawn(why, ["why-el2n"])


def test_grand_against_el2n_is_the_correlation_of_each_models_own_scores(why) -> None:
    assert sorted({row["model"] for row in why.rows}) == [0, 1, 2, 3]
    assert all(-1 <= row["grand_el2n"] <= 1 for row in why.rows)
    # With standardised inputs and one layer, GraNd is EL2N times a length that varies little.
    assert all(row["grand_el2n"] > 0.7 for row in why.rows if row["step"] == max(r["step"] for r in why.rows))


class OneDirection(nn.Module):
    """All logits are nearly multiples of one number, so their gradients are nearly parallel and of different sizes."""

    def __init__(self, unlike: float) -> None:
        super().__init__()
        self.body, self.beside = nn.Linear(5, 1), nn.Linear(5, 3)
        self.register_buffer("factors", torch.tensor([1.0, -2.0, 6.0 + unlike]))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.body(inputs) * self.factors + 0.01 * self.beside(inputs)


def test_parallel_logit_gradients_of_unequal_size_make_the_claims_fail(
    vectors, tiny_recipe, tmp_path, monkeypatch
) -> None:
    context = small_context(vectors, tiny_recipe.replace(lr=0.001), tmp_path)

    def build(seed: int) -> nn.Module:
        generator, model = torch.Generator().manual_seed(seed), OneDirection(0.01 * seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        return model

    monkeypatch.setattr(context.setup, "build", build)
    result = carry_out(STUDIES["why-el2n"], context, tmp_path / "out")
    assert all(row["cosine"] == pytest.approx(1, abs=1e-3) for row in result.rows)
    assert outcomes(result)[2:4] == ["fails", "fails"]


def test_the_figure_of_the_reasoning_names_its_axes(vectors, tiny_recipe, tmp_path, why) -> None:
    conclusion = STUDIES["why-el2n"].conclude(small_context(vectors, tiny_recipe, tmp_path), why.rows, {})
    for axes in conclusion.figures["why-el2n"].axes:
        assert axes.get_xlabel() and axes.get_ylabel()
