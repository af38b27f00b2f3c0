"""Conv-TasNet has the published size and masks its input."""

import torch
from kit.learning import learn, mse

from audiotool.models.conv_tasnet import ConvTasNet, ConvTasNetConfig


def test_parameter_count_is_the_papers() -> None:
    with torch.device("meta"):
        model = ConvTasNet(ConvTasNetConfig())
    assert model.parameter_count == 5_050_545  # 5.1 M in Table II


def test_one_step_lowers_the_loss() -> None:
    torch.manual_seed(0)
    small = ConvTasNetConfig(
        filters=32, bottleneck_channels=16, hidden_channels=24, skip_channels=16, blocks=3, stacks=1
    )
    model = ConvTasNet(small)
    stems = torch.randn(2, 2, 2000) * 0.1
    batch = {"input": stems.sum(1, keepdim=True), "target": stems}
    losses = learn(model, batch, mse, torch.optim.Adam(model.parameters(), lr=3e-3), 4, has_idle_weights=True)
    assert losses[-1] < losses[0]
