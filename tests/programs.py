"""Random networks that nobody would draw by hand, and what they do by raw hooks and autograd.

A seed gives a program of modules, functions, views, in-place steps, reuse and routing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 6
Step = Callable[["Program", list[Tensor]], Tensor]


class Program(nn.Module):
    """Every value is `(batch, WIDTH)`; each step takes earlier values and adds one to the list.

    Some steps work in place on values that later steps, or the ones before, also use.
    """

    def __init__(self, seed: int, steps: int = 7) -> None:
        super().__init__()
        self.rng = np.random.default_rng(seed)
        self.layers = nn.ModuleDict()
        self.steps: list[Step] = []
        self.said: list[str] = []
        self.kept: Tensor | None = None
        self.register_buffer("passes", torch.zeros(()))
        self._add("linear")
        for _ in range(steps):
            self._add(str(self.rng.choice(list(_MAKERS))))
        self._add("linear")
        self.head = nn.Linear(WIDTH, 3)
        with torch.no_grad():  # values of size one throughout, whatever is multiplied
            for p in self.parameters():
                p.copy_(torch.from_numpy(self.rng.normal(size=tuple(p.shape)) / WIDTH**0.5))
        self.double().eval()

    def _add(self, kind: str) -> None:
        self.said.append(kind)
        self.steps.append(_MAKERS[kind](self, len(self.steps)))

    def layer(self, number: int, layer: nn.Module) -> str:
        """Register a layer of step `number`; its name."""
        name = f"{type(layer).__name__.lower()}{number}"
        self.layers[name] = layer
        return name

    def pick(self, number: int) -> int:
        """An earlier value, the last ones more often."""
        back = min(int(self.rng.geometric(0.55)), number + 1)
        return number + 1 - back

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for step in self.steps:
            values.append(step(self, values))
        with torch.no_grad():
            self.passes += 1
        return self.head(values[-1])


def _linear(p: Program, k: int) -> Step:
    name, a = p.layer(k, nn.Linear(WIDTH, WIDTH)), p.pick(k)
    return lambda m, v: m.layers[name](v[a])


def _activation(p: Program, k: int) -> Step:
    kinds = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Hardtanh, nn.ReLU6, nn.SiLU)
    kind = kinds[int(p.rng.integers(len(kinds)))]
    name, a = p.layer(k, kind(inplace=bool(p.rng.integers(2)))), max(p.pick(k), 1)
    return lambda m, v: m.layers[name](v[a])


def _smooth(p: Program, k: int) -> Step:
    kinds = (nn.Tanh, nn.GELU, nn.Softplus, nn.Sigmoid, nn.Identity, nn.PReLU)
    name, a = p.layer(k, kinds[int(p.rng.integers(len(kinds)))]()), p.pick(k)
    return lambda m, v: m.layers[name](v[a])


def _norm(p: Program, k: int) -> Step:
    kind = nn.LayerNorm(WIDTH) if p.rng.integers(2) else nn.BatchNorm1d(WIDTH)
    name, a = p.layer(k, kind), p.pick(k)
    return lambda m, v: m.layers[name](v[a])


def _shared(p: Program, k: int) -> Step:
    """A linear layer called a second time: it is not recorded, but what it does counts."""
    names = [n for n in p.layers if n.startswith("linear")]
    name, a = names[int(p.rng.integers(len(names)))], p.pick(k)
    p.layers[name].shared = True
    return lambda m, v: m.layers[name](v[a])


def _function(p: Program, k: int) -> Step:
    functions: tuple[Callable[[Tensor], Tensor], ...] = (
        F.relu, torch.tanh, torch.abs, torch.sin, F.gelu, F.softplus, torch.sign, torch.round,
        lambda t: t.clamp(-0.5, 0.8), lambda t: t.clamp(min=0.3), lambda t: F.softmax(t, 1),
        lambda t: t + (t.round() - t).detach(), lambda t: t * (t > 0), lambda t: t.detach() + 0.5,
        lambda t: F.layer_norm(t, (WIDTH,)), lambda t: t.double().float().double(),
    )  # fmt: skip
    f, a = functions[int(p.rng.integers(len(functions)))], p.pick(k)
    return lambda _, v: f(v[a])


def _aside(p: Program, k: int) -> Step:
    """Values taken aside by functions that return several."""
    functions: tuple[Callable[[Tensor], Tensor], ...] = (
        lambda t: t.max(1, keepdim=True).values - t,
        lambda t: t - t.topk(2, 1).values[:, 1:],
        lambda t: t.sort(1).values,
        lambda t: torch.cat(t.chunk(2, 1)[::-1], 1),
        lambda t: torch.cat([s * (i + 1) for i, s in enumerate(t.split([1, 2, 3], 1))], 1),
        lambda t: torch.stack([u * u for u in t.unbind(1)], 1),
        lambda t: t.min(1, keepdim=True)[0] * 0.5 + t,
        lambda t: t.scatter(1, t.topk(1, 1).indices, 0.0),
        lambda t: t.gather(1, t.argsort(1)),
        lambda t: torch.aminmax(t, dim=1, keepdim=True).max - t,
        lambda t: t.cummax(1).values,
        lambda t: t.median(1, keepdim=True).values + t,
    )
    f, a = functions[int(p.rng.integers(len(functions)))], p.pick(k)
    return lambda _, v: f(v[a])


def _view(p: Program, k: int) -> Step:
    order = torch.from_numpy(p.rng.permutation(WIDTH))
    functions: tuple[Callable[[Tensor], Tensor], ...] = (
        lambda t: t.view(-1, 2, 3).transpose(1, 2).reshape(-1, WIDTH),
        lambda t: t.flip(1),
        lambda t: t.roll(1, 1),
        lambda t: t[:, order],
        lambda t: t.unsqueeze(1).expand(-1, 2, -1).mean(1),
        lambda t: t.t().contiguous().t(),
        lambda t: t[:, :3].repeat(1, 2),
        lambda t: F.pad(t[:, 1:], (0, 1)),
    )
    f, a = functions[int(p.rng.integers(len(functions)))], p.pick(k)
    return lambda _, v: f(v[a])


def _pair(p: Program, k: int) -> Step:
    functions: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
        torch.add, torch.sub, torch.maximum, lambda s, t: s * torch.tanh(t),
        lambda s, t: torch.where(t > 0, s, t), lambda s, t: torch.addcmul(s, s, torch.tanh(t)),
        lambda s, t: torch.lerp(s, t, 0.3), lambda s, t: torch.cat([s[:, :2], t[:, 2:]], 1),
        lambda s, t: torch.einsum("bi,bi->b", s, t)[:, None] * 0.1 + s,
        lambda s, t: torch.relu(s + t),
    )  # fmt: skip
    f, a, b = functions[int(p.rng.integers(len(functions)))], p.pick(k), p.pick(k)
    return lambda _, v: f(v[a], v[b])


def _in_place(p: Program, k: int) -> Step:
    """Works on a value that earlier and later steps use too; never on the input."""

    def masked(s: Tensor, t: Tensor) -> Tensor:
        s[:, :2] = t[:, 2:4]
        return s

    functions: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
        lambda s, t: s.add_(t * 0.3), lambda s, t: s.mul_(1.5), lambda s, t: s.clamp_(min=-0.2),
        lambda s, t: F.relu(s, inplace=True), lambda s, t: s.masked_fill_(t > 1, 0.0), masked,
        lambda s, t: s.copy_(s + t), lambda s, t: torch.relu_(s),
        lambda s, t: s[:, :3].tanh_().repeat(1, 2),
    )  # fmt: skip
    f, a, b = functions[int(p.rng.integers(len(functions)))], max(p.pick(k), 1), p.pick(k)
    return lambda _, v: f(v[a] if k else v[a] * 1, v[b])


def _rare_in_place(p: Program, k: int) -> Step:
    """Acts on few rows: a look at a handful of others shows nothing."""
    a = max(p.pick(k), 1)
    return lambda _, v: v[a].clamp_(max=1.8)


def _routed(p: Program, k: int) -> Step:
    """Some rows through an expert of their own, by a boolean index."""
    expert, a = nn.Linear(WIDTH, WIDTH), p.pick(k)
    expert.shared = True
    name = p.layer(k, expert)
    bound = float(p.rng.choice([0.0, 1.0]))

    def step(m: Program, v: list[Tensor]) -> Tensor:
        chosen = v[a][:, 0] > bound
        out = v[a].clone()
        out[chosen] = m.layers[name](v[a][chosen])
        return out

    return step


def _hidden(p: Program, k: int) -> Step:
    """A value that travels through an attribute instead of an argument."""
    a, b = p.pick(k), p.pick(k)

    def step(m: Program, v: list[Tensor]) -> Tensor:
        m.kept = v[a]
        return m.kept * 0.5 + v[b]

    return step


_MAKERS: Mapping[str, Callable[[Program, int], Step]] = {
    "linear": _linear, "activation": _activation, "smooth": _smooth, "norm": _norm,
    "shared": _shared, "function": _function, "aside": _aside, "view": _view,
    "pair": _pair, "in_place": _in_place, "rare": _rare_in_place,
    "routed": _routed, "hidden": _hidden,
}  # fmt: skip


def sites_of(program: Program, most: int = 4) -> list[str]:
    """Some of the layers that are called exactly once, on all rows."""
    names = [n for n, layer in program.layers.items() if not getattr(layer, "shared", False)]
    chosen = program.rng.choice(names, size=min(most, len(names)), replace=False)
    return sorted((f"layers.{n}" for n in chosen), key=[f"layers.{n}" for n in names].index)


# What is true, by raw hooks and autograd -------------------------------------------------------


def forced(
    program: Program, x: Tensor, site: str, units: list[int], values: Tensor, watched: list[str]
) -> dict[str, Tensor]:
    """One full pass with `units` of `site` set to `values` `(rows, units)`."""
    seen: dict[str, Tensor] = {}
    program = copy.deepcopy(program)  # a pass counts itself in a buffer

    def put(_layer: nn.Module, _args: object, out: Tensor) -> Tensor:
        new = out.clone()
        new[:, units] = values
        return new

    def see(name: str) -> Callable[..., None]:
        def keep(_layer: nn.Module, _args: object, out: Tensor) -> None:
            seen[name] = out.detach().clone()

        return keep

    handles = [program.get_submodule(site).register_forward_hook(put)]
    handles += [program.get_submodule(n).register_forward_hook(see(n)) for n in watched]
    try:
        with torch.no_grad():
            program(x.clone())
    finally:
        for handle in handles:
            handle.remove()
    return seen


def jacobians(program: Program, x: Tensor, site: str) -> tuple[Tensor, Tensor]:
    """dy/dh `(rows, outputs, units)` and dh/dx `(rows, units, inputs)`, rows independent."""
    x, program = x.clone().requires_grad_(), copy.deepcopy(program)
    held: dict[str, Tensor] = {}

    def shift(_layer: nn.Module, _args: object, out: Tensor) -> Tensor:
        held["h"] = out * 1
        held["delta"] = torch.zeros_like(out, requires_grad=True)
        return out + held["delta"]

    handle = program.get_submodule(site).register_forward_hook(shift)
    try:
        y = program(x * 1)
    finally:
        handle.remove()
    return _rows_of(y, held["delta"]), _rows_of(held["h"], x)


def _rows_of(values: Tensor, wrt: Tensor) -> Tensor:
    rows = []
    for j in range(values.shape[1]):
        if not values.requires_grad:
            rows.append(torch.zeros_like(wrt))
            continue
        got = torch.autograd.grad(values[:, j].sum(), wrt, retain_graph=True, allow_unused=True)[0]
        rows.append(torch.zeros_like(wrt) if got is None else got)
    return torch.stack(rows, 1)


def similarity_references(program: Program, x: Tensor, site: str) -> dict[str, np.ndarray]:
    """`o_sens` and `i_sens` of one site from per-sample Jacobians (eqs. 2, 3)."""
    y_h, h_x = jacobians(program, x, site)
    o_sens = torch.einsum("koi,koj->ij", y_h, y_h) / len(x)
    i_sens = torch.einsum("kid,kjd->ij", h_x, h_x) / len(x)
    return {"o_sens": o_sens.abs().numpy(), "i_sens": i_sens.abs().numpy()}


def hessian_reference(program: Program, x: Tensor, labels: Tensor, site: str) -> np.ndarray:
    """`hess` of one site (eq. 4), by differentiating the summed cross-entropy twice."""
    program, held = copy.deepcopy(program), []
    for layer in program.layers.values():
        if isinstance(layer, nn.PReLU):  # torch has another slope at 0 when differentiating twice
            layer.forward = lambda t, w=layer.weight: torch.where(t > 0, t, w * t)

    def shift(_layer: nn.Module, _args: object, out: Tensor) -> Tensor:
        held.append(torch.zeros_like(out, requires_grad=True))
        return out + held[0]

    handle = program.get_submodule(site).register_forward_hook(shift)
    try:
        total = F.cross_entropy(program(x.clone()), labels, reduction="sum")
    finally:
        handle.remove()
    (delta,) = held
    if not total.requires_grad:
        return np.zeros((WIDTH, WIDTH))
    (slope,) = torch.autograd.grad(total, delta, create_graph=True, materialize_grads=True)
    return _rows_of(slope, delta).sum(0).div(len(x)).abs().numpy()
