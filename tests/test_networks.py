import pytest
import torch
from torch import nn

from tracker.networks import NETWORKS, build
from tracker.networks.aan import AAN, Attention, Embedding
from tracker.networks.trnet import weighted_layers


def multiply_adds(network: nn.Module) -> int:
    total = 0

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output[0].numel() * module.in_channels * module.kernel_size[0] * module.kernel_size[1]
        elif isinstance(module, nn.Linear):
            total += module.in_features * module.out_features

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    run(network.eval())
    for hook in hooks:
        hook.remove()
    return total


def run(network: nn.Module, count: int = 1) -> dict[str, torch.Tensor]:
    return network(torch.zeros(count, 3, network.input_size, network.input_size))


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"facedet"}))
@pytest.mark.parametrize("points", [5, 68])
def test_a_network_gives_any_number_of_points(name: str, points: int) -> None:
    assert run(build(name, points).eval(), 3)["points"].shape == (3, points, 2)


def test_trnet20_is_the_one_of_table_1() -> None:
    network = build("trnet20", 68)
    assert weighted_layers(network) == 20
    assert 0.75e6 < sum(p.numel() for p in network.parameters()) < 0.85e6
    maps: list[tuple[int, int]] = []
    for stage in network.stages:
        stage.register_forward_hook(lambda *call: maps.append(tuple(call[2].shape[1:3])))
    run(network.eval())
    assert maps == [(48, 32), (64, 16), (80, 8), (96, 4)]


def test_cnn6_is_the_plain_network() -> None:
    network = build("cnn6", 29)
    assert weighted_layers(network) == 7  # five convolutions, the hidden layer and the output
    assert network.hidden.in_features == 512 * 2 * 2


def test_aan_is_small_enough_to_train_on_two_cores() -> None:
    assert multiply_adds(AAN(68)) < 200e6


def test_aan_attends_at_four_scales_and_drops_its_branches_at_test() -> None:
    network = AAN(68)
    trained = run(network.train(), 2)
    assert [tuple(trained[f"attention_{i}"].shape[1:]) for i in range(4)] == [(s, s) for s in (64, 32, 16, 8)]
    assert all(trained[f"early_{i}"].shape == (2, 68, 2) for i in range(4))
    tested = run(network.eval(), 2)
    assert set(tested) == {"points", *(f"attention_{i}" for i in range(4))}
    assert all(0 <= tested[f"attention_{i}"].min() and tested[f"attention_{i}"].max() <= 1 for i in range(4))


def test_aan_weighs_features_by_one_plus_the_map() -> None:
    torch.manual_seed(0)
    kept, multiplied = AAN(5).eval(), AAN(5, residual=False).eval()
    multiplied.load_state_dict(kept.state_dict())
    seen: dict[str, torch.Tensor] = {}
    for name, network in (("kept", kept), ("multiplied", multiplied)):
        network.blocks[0].register_forward_hook(lambda *call, name=name: seen.__setitem__(name + " h", call[2]))
        network.blocks[1].register_forward_pre_hook(lambda *call, name=name: seen.__setitem__(name, call[1][0]))
        crops = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
        seen[name + " m"] = network(crops)["attention_0"].unsqueeze(1)
    pooled = nn.functional.max_pool2d((1 + seen["kept m"]) * seen["kept h"], 2)
    torch.testing.assert_close(seen["kept"], pooled)
    pooled = nn.functional.max_pool2d(seen["multiplied m"] * seen["multiplied h"], 2)
    torch.testing.assert_close(seen["multiplied"], pooled)


def test_both_readings_of_the_attention_block() -> None:
    features = torch.randn(4, 8, 6, 6)
    assert Attention(8, relu=True)(features).min() >= 0.5
    assert Attention(8, relu=False)(features).min() < 0.4


@pytest.mark.parametrize(
    "options", [{"attention": False}, {"embedding": False}, {"attention": False, "embedding": False}]
)
def test_the_rows_of_the_ablation_table(options: dict[str, bool]) -> None:
    network = AAN(19, **options)
    found = run(network.eval(), 2)
    assert found["points"].shape == (2, 19, 2)
    assert ("attention_0" in found) == options.get("attention", True)
    assert any(isinstance(m, Embedding) for m in network.modules()) == options.get("embedding", True)


def test_the_embedding_starts_with_arguments_of_order_one() -> None:
    layer = Embedding(4096, 256)
    x = torch.randn(64, 4096) * 30 + 5
    argument = layer.linear(layer.normalise(x)) - layer.linear.bias
    assert 0.7 < argument.std() < 1.4


def test_channels_of_one_size_change_nothing() -> None:
    """What a finished AAN finds stays the same when the channels of its last map are scaled; they then have one size.
    A second time changes nothing."""
    torch.manual_seed(0)
    network = AAN(68, (2, 2, 2, 4), dimension=16, heads=8)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.001, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
    network.heads.deviation.uniform_(0.5, 2)
    network.eval()
    crops = torch.randn(2, 3, 128, 128)
    before = network(crops)
    for _ in range(2):
        network.equalise()
        for name, values in network(crops).items():
            torch.testing.assert_close(values, before[name], rtol=1e-4, atol=1e-4)
        sizes = network.embedding.normalise.running_var.view(16, 16).amax(1).sqrt()
        torch.testing.assert_close(sizes, torch.ones(16), rtol=1e-2, atol=0)
