"""Muon: momentum whose every update is made orthogonal (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).

For weights that are matrices, or convolutions read as matrices [out, in * kh * kw]. An update's singular values all become
about 1, so that no direction of a weight waits for the others. Scaled by 0.2 sqrt(max(rows, columns)) its entries are as
large as AdamW's, and one learning rate serves both (Liu et al. 2025, arXiv 2502.16982).
"""

from collections import defaultdict

import torch

STEPS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the odd quintic that drives singular values from (0, 1] to about 1


def orthogonalized(updates):
    """The nearest matrices with equal singular values, roughly. updates float32 [N, rows, columns]."""
    tall = updates.shape[1] > updates.shape[2]
    x = updates.mT if tall else updates
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).bfloat16()
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float()


class Muon(torch.optim.Optimizer):
    """parameters: tensors of two or more dimensions. Those of one shape are updated together; state lies in float32."""

    def __init__(self, parameters, lr, momentum=0.95, weight_decay=0.01):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            alike = defaultdict(list)
            for parameter in group["params"]:
                alike[parameter.shape[0], parameter[0].numel()].append(parameter)
            for (rows, columns), parameters in alike.items():
                velocities = [self._velocity(parameter, group["momentum"]) for parameter in parameters]
                updates = orthogonalized(torch.stack(velocities).view(-1, rows, columns))
                size = 0.2 * group["lr"] * max(rows, columns) ** 0.5
                for parameter, update in zip(parameters, updates):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update.view(parameter.shape), alpha=-size)

    def _velocity(self, parameter, momentum):
        """The gradient looked at one step ahead (Nesterov), as [rows, columns]."""
        state = self.state[parameter]
        if not state:
            state["velocity"] = torch.zeros_like(parameter)
        state["velocity"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(state["velocity"], momentum).flatten(1)
