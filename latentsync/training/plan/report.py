"""The plan as a table."""

from latentsync.training.plan.estimate import Estimate

GB = 1e9


def plan_text(plan: Estimate, title: str) -> str:
    """Lines for people: each network, and what fills the memory of one device at the peak of a step."""
    lines = [title, "", f"{'network':<18}{'parameters':>14}{'trainable':>14}{'weights':>10}"]
    for name, network in plan.networks.items():
        counts = f"{network.parameters / 1e6:>12.1f} M{network.trainable / 1e6:>12.1f} M"
        lines.append(f"{name:<18}{counts}{network.weights / GB:>7.2f} GB")
    total = sum(network.parameters for network in plan.networks.values())
    trainable = sum(network.trainable for network in plan.networks.values())
    lines += [f"{'all':<18}{total / 1e6:>12.1f} M{trainable / 1e6:>12.1f} M{plan.weights / GB:>7.2f} GB", ""]
    for name in ("weights", "gradients", "optimizer", "activations", "batch"):
        lines.append(f"{name:<18}{getattr(plan, name) / GB:>7.2f} GB")
    lines.append(f"{'peak of a step':<18}{plan.peak / GB:>7.2f} GB on each device, estimated; the allocator and the")
    lines.append(f"{'':<18}libraries' work space come on top, with trainer=ddp a second copy of the gradients, too")
    return "\n".join(lines)
