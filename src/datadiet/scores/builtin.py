"""The cards of the scores that come with the package."""

from __future__ import annotations

import math

from datadiet.scores import dynamics, gradients, inputs, outputs, unlabelled
from datadiet.scores.registry import ScoreCard, add_card

_DATA_DIET = "Paul, Ganguli, Dziugaite, Deep Learning on a Data Diet, NeurIPS 2021"
_CARTOGRAPHY = "Swayamdipta et al., Dataset Cartography, EMNLP 2020"
_AUM = "Pleiss et al., Identifying Mislabeled Data using the Area Under the Margin Ranking, NeurIPS 2020"
_ANY = (0.0, math.inf)
_SIGNED = (-math.inf, math.inf)

add_card(
    ScoreCard(
        name="el2n",
        needs="outputs",
        higher_is_harder=True,
        range=(0.0, math.sqrt(2)),
        source=_DATA_DIET,
        summary="L2 norm of softmax minus label.",
        function=outputs.el2n,
    )
)
add_card(
    ScoreCard(
        name="l1_error",
        needs="outputs",
        higher_is_harder=True,
        range=(0.0, 2.0),
        source=f"code released with {_DATA_DIET}",
        summary="L1 norm of softmax minus label.",
        function=outputs.l1_error,
    )
)
add_card(
    ScoreCard(
        name="entropy",
        needs="outputs",
        higher_is_harder=True,
        range=_ANY,
        source="Coleman et al., Selection via Proxy, ICLR 2020",
        summary="Entropy of the prediction in nats; the label does not matter.",
        function=outputs.entropy,
    )
)
add_card(
    ScoreCard(
        name="loss",
        needs="outputs",
        higher_is_harder=True,
        range=_ANY,
        source="the cross-entropy itself",
        summary="Cross-entropy in nats.",
        function=outputs.loss,
    )
)
add_card(
    ScoreCard(
        name="margin",
        needs="outputs",
        higher_is_harder=False,
        range=(-1.0, 1.0),
        source=f"code released with {_DATA_DIET}",
        summary="Probability of the label minus the largest other.",
        function=outputs.margin,
    )
)
add_card(
    ScoreCard(
        name="logit_margin",
        needs="outputs",
        higher_is_harder=False,
        range=_SIGNED,
        source=_AUM,
        summary="Logit of the label minus the largest other.",
        function=outputs.logit_margin,
    )
)
add_card(
    ScoreCard(
        name="least_confidence",
        needs="outputs",
        higher_is_harder=True,
        range=(0.0, 1.0),
        source="Culotta and McCallum, Reducing Labeling Effort for Structured Prediction Tasks, AAAI 2005",
        summary="One minus the largest probability; no label is looked at.",
        function=unlabelled.least_confidence,
    )
)
add_card(
    ScoreCard(
        name="hypothesis_el2n",
        needs="outputs",
        higher_is_harder=True,
        range=(0.0, 1.0),
        source=f"{_DATA_DIET}, with the model's hypothesis as label",
        summary="L2 norm of softmax minus the model's own hypothesis; no label is looked at.",
        function=unlabelled.hypothesis_el2n,
    )
)
add_card(
    ScoreCard(
        name="probability_margin",
        needs="outputs",
        higher_is_harder=False,
        range=(0.0, 1.0),
        source="Scheffer et al., Active Hidden Markov Models for Information Extraction, 2001",
        summary="Largest probability minus the second; no label is looked at.",
        function=unlabelled.probability_margin,
    )
)
add_card(
    ScoreCard(
        name="top_logit_margin",
        needs="outputs",
        higher_is_harder=False,
        range=(0.0, math.inf),
        source="the probability margin on the scale of logits",
        summary="Largest logit minus the second; no label is looked at.",
        function=unlabelled.top_logit_margin,
    )
)
add_card(
    ScoreCard(
        name="forgetting",
        needs="trace",
        higher_is_harder=True,
        range=_ANY,
        source="Toneva et al., An Empirical Study of Example Forgetting, ICLR 2019",
        summary="Times from correct to wrong; never learnt counts most.",
        function=dynamics.forgetting,
        columns=("correct",),
    )
)
add_card(
    ScoreCard(
        name="aum",
        needs="trace",
        higher_is_harder=False,
        range=_SIGNED,
        source=_AUM,
        summary="Mean logit margin over training; low for wrong labels.",
        function=dynamics.aum,
        columns=("logit_margin",),
    )
)
add_card(
    ScoreCard(
        name="confidence",
        needs="trace",
        higher_is_harder=False,
        range=(0.0, 1.0),
        source=_CARTOGRAPHY,
        summary="Mean probability of the label over training.",
        function=dynamics.confidence,
        columns=("probability",),
    )
)
add_card(
    ScoreCard(
        name="variability",
        needs="trace",
        higher_is_harder=True,
        range=(0.0, 0.5),
        source=_CARTOGRAPHY,
        summary="Spread of the label's probability over training; high for ambiguous examples.",
        function=dynamics.variability,
        columns=("probability",),
    )
)
add_card(
    ScoreCard(
        name="dyn_unc",
        needs="trace",
        higher_is_harder=True,
        range=_ANY,
        source="He et al., Large-scale Dataset Pruning with Dynamic Uncertainty, CVPR 2024 workshops",
        summary="Mean spread of the label's probability in sliding windows of epochs.",
        function=dynamics.dyn_unc,
        columns=("probability",),
    )
)
add_card(
    ScoreCard(
        name="dual",
        needs="trace",
        higher_is_harder=True,
        range=(0.0, 0.36),
        source="Cho et al., Lightweight Dataset Pruning without Full Training (DUAL), ICML 2025",
        summary="Spread times one minus mean of the label's probability in sliding windows of epochs.",
        function=dynamics.dual,
        columns=("probability",),
    )
)
add_card(
    ScoreCard(
        name="tdds",
        needs="trace",
        higher_is_harder=True,
        range=_ANY,
        source="Zhang et al., Temporal Dual-Depth Scoring (TDDS), CVPR 2024; of the label's probability alone",
        summary="How much the change of the label's probability varies from epoch to epoch, the last epochs most.",
        function=dynamics.tdds,
        columns=("probability",),
    )
)
add_card(
    ScoreCard(
        name="grand",
        needs="gradients",
        higher_is_harder=True,
        range=_ANY,
        source=_DATA_DIET,
        summary="L2 norm of the loss gradient with respect to all weights.",
        function=None,
    )
)
add_card(
    ScoreCard(
        name="grand_last_layer",
        needs="features",
        higher_is_harder=True,
        range=_ANY,
        source=f"closed form for the last layer of GraNd, {_DATA_DIET}",
        summary="L2 norm of the loss gradient with respect to the last linear layer.",
        function=gradients.grand_last_layer,
    )
)
add_card(
    ScoreCard(
        name="input_norm",
        needs="inputs",
        higher_is_harder=True,
        range=_ANY,
        source="Kirsch, Does 'Deep Learning on a Data Diet' reproduce?, 2023",
        summary="L2 norm of the input as the model sees it.",
        function=inputs.input_norm,
    )
)
add_card(
    ScoreCard(
        name="centre_distance",
        needs="embeddings",
        higher_is_harder=True,
        range=_ANY,
        source="Xia et al., Moderate Coreset, ICLR 2023 (which keeps the middle of it)",
        summary="Euclidean distance of the embedding to the mean of its class.",
        function=inputs.centre_distance,
    )
)
add_card(
    ScoreCard(
        name="prototype_distance",
        needs="embeddings",
        higher_is_harder=True,
        range=(0.0, 2.0),
        source="Sorscher et al., Beyond neural scaling laws, NeurIPS 2022",
        summary="Cosine distance of the embedding to the nearest k-means centre, as many centres as classes.",
        function=inputs.prototype_distance,
    )
)
add_card(
    ScoreCard(
        name="random",
        needs="ids",
        higher_is_harder=True,
        range=(0.0, 1.0),
        source="the baseline of every comparison",
        summary="Chance, fixed by id and seed.",
        function=inputs.random,
    )
)
