"""The personalised transformer listens to its enrolment, and needs none."""

import pytest
import torch
from kit.learning import learn, mse

from audiotool.models.personalised_transformer import PersonalisedTransformer, PersonalisedTransformerConfig

SMALL = PersonalisedTransformerConfig(dim=16, heads=2, blocks=2, inner_dim=32, window=20)


@pytest.fixture
def model() -> PersonalisedTransformer:
    torch.manual_seed(0)
    return PersonalisedTransformer(SMALL).eval()


@torch.no_grad()
def test_another_enrolment_gives_another_output_and_the_same_the_same(model: PersonalisedTransformer) -> None:
    mixture, first, second = torch.randn(1, 1, 6000), torch.randn(1, 1, 9000), torch.rand(1, 1, 9000)
    output = model.process(mixture, enrolment=first)
    assert torch.equal(output, model.process(mixture, enrolment=first))
    assert not torch.allclose(output, model.process(mixture, enrolment=second), atol=1e-4)


@torch.no_grad()
def test_the_enrolment_is_encoded_once_and_streams_equal_the_whole(model: PersonalisedTransformer) -> None:
    mixture, enrolment = torch.randn(1, 1, 6000), torch.randn(1, 1, 9000)
    state, parts = model.start(enrolment=enrolment), []
    memory = state["memory"]
    for n, chunk in enumerate(mixture.split(700, -1)):
        y, state = model.step(chunk, state, final=n == 8)
        parts.append(y)
        assert state["memory"] is memory
    whole = model.process(mixture, enrolment=enrolment)
    streamed = torch.cat(parts, -1)[..., :6000]
    assert (streamed - whole).abs().max() <= 1e-5 * whole.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("length", [0, 100, 321])
def test_short_enrolments_are_accepted(model: PersonalisedTransformer, length: int) -> None:
    assert model.process(torch.randn(2, 1, 1000), enrolment=torch.randn(1, 1, length)).shape == (2, 1, 1000)


@torch.no_grad()
def test_enrolment_level_does_not_matter(model: PersonalisedTransformer) -> None:
    mixture, enrolment = torch.randn(1, 1, 6000), torch.randn(1, 1, 9000)
    loud = model.process(mixture, enrolment=enrolment)
    soft = model.process(mixture, enrolment=enrolment * 0.1)
    torch.testing.assert_close(loud, soft, atol=1e-3, rtol=1e-2)


@torch.no_grad()
def test_enrolments_are_withheld_in_training_alone_and_item_by_item(model: PersonalisedTransformer) -> None:
    model.anybody.mul_(100)  # an untrained network hardly tells enrolments apart
    batch = {"input": torch.randn(64, 1, 1000), "enrolment": torch.randn(64, 1, 2000)}
    given = model.process(batch["input"], enrolment=batch["enrolment"])
    none = model.process(batch["input"])
    assert torch.equal(model.training_outputs(batch)["estimate"], given)
    trained = model.train().training_outputs(batch)["estimate"]

    def equals(one: torch.Tensor) -> torch.Tensor:
        return (trained - one).abs().amax((1, 2)) <= 1e-4 * one.abs().amax((1, 2))

    withheld, kept = equals(none), equals(given)
    assert torch.equal(withheld, ~kept)
    assert 1 <= withheld.sum() <= 32


def test_one_step_lowers_the_loss(model: PersonalisedTransformer) -> None:
    batch = {
        "input": torch.randn(2, 1, 3000),
        "target": torch.randn(2, 1, 3000) * 0.1,
        "enrolment": torch.randn(2, 1, 4000),
    }
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = learn(model, batch, mse, optimiser, 6, has_idle_weights=True)
    assert losses[-1] < losses[0]
