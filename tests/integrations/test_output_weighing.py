"""Where a loss is weighed that is made of no function that is known: at the outputs of the model."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from datadiet.integrations.transformers.outputs import OutputWeigher

BATCH = 4
WEIGHTS = torch.tensor([1.0, 3.0, 0.0, 2.0])


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, inputs: torch.Tensor) -> dict[str, Any]:
        hidden = self.body(inputs).tanh()
        return {"hidden": (hidden,), "logits": self.head(hidden), "count": torch.ones(())}


def run(loss_of: Any) -> tuple[Net, OutputWeigher, torch.Tensor, list[Any], dict[str, Any]]:
    net, weigher = Net(), OutputWeigher()
    inputs = torch.randn(BATCH, 3, generator=torch.Generator().manual_seed(1))
    with weigher.watching(net) as seen:
        outputs = net(inputs)
    return net, weigher, loss_of(net, outputs), seen, outputs


def gradient(net: Net, loss: torch.Tensor) -> torch.Tensor:
    found = torch.autograd.grad(
        loss, list(net.parameters()), retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return torch.cat([part.flatten() for part in found])


def focal(outputs: dict[str, Any]) -> torch.Tensor:
    right = outputs["logits"].log_softmax(1)[:, 0]
    return -((1 - right.exp()) ** 2) * right


def test_the_gradient_of_each_example_is_weighed() -> None:
    net, weigher, loss, seen, outputs = run(lambda net, outputs: focal(outputs).mean())
    expected = gradient(net, (WEIGHTS * focal(outputs)).mean())
    assert weigher.learn(loss, seen, BATCH)
    assert not weigher.is_linear
    torch.testing.assert_close(gradient(net, weigher.weigh(loss, seen, WEIGHTS)), expected)


def test_a_linear_loss_says_what_each_example_s_is() -> None:
    def loss_of(net: Net, outputs: dict[str, Any]) -> torch.Tensor:
        return outputs["logits"].sum() / BATCH

    net, weigher, loss, seen, outputs = run(loss_of)
    assert weigher.learn(loss, seen, BATCH)
    assert weigher.is_linear
    parts, losses = weigher.parts(loss, seen)
    rows = outputs["logits"].detach().double().sum(1)
    torch.testing.assert_close(parts, rows / BATCH)
    torch.testing.assert_close(losses, rows / 2)
    expected = (WEIGHTS * outputs["logits"].sum(1)).sum() / BATCH
    weighed = weigher.weigh(loss, seen, WEIGHTS)
    torch.testing.assert_close(weighed, expected)
    torch.testing.assert_close(gradient(net, weighed), gradient(net, outputs["logits"].sum() / BATCH))


def test_hidden_outputs_alone_are_as_good() -> None:
    net, weigher, loss, seen, outputs = run(lambda net, outputs: outputs["hidden"][0].square().sum())
    expected = gradient(net, (WEIGHTS * outputs["hidden"][0].square().sum(1)).sum())
    assert weigher.learn(loss, seen, BATCH)
    torch.testing.assert_close(gradient(net, weigher.weigh(loss, seen, WEIGHTS)), expected)


def test_outputs_of_which_one_is_made_of_the_other_would_be_weighed_twice() -> None:
    _, weigher, loss, seen, _ = run(
        lambda net, outputs: focal(outputs).mean() + outputs["hidden"][0].square().mean()
    )
    assert not weigher.learn(loss, seen, BATCH)


def test_what_goes_past_the_outputs_would_not_be_weighed() -> None:
    _, weigher, loss, seen, _ = run(lambda net, outputs: focal(outputs).mean() + 1e-9 * net.head.weight.sum())
    assert not weigher.learn(loss, seen, BATCH)
    _, weigher, loss, seen, _ = run(lambda net, outputs: net.head.weight.sum())
    assert not weigher.learn(loss, seen, BATCH)


def test_outputs_of_another_length_are_no_examples() -> None:
    _, weigher, loss, seen, _ = run(lambda net, outputs: focal(outputs).mean())
    assert not weigher.learn(loss, seen, BATCH + 1)
