"""Which layers of a model can be recorded, and under what name: `sites`, and patterns of names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from infoflow._arguments import door, items
from infoflow._hooks import layer_at, plain_names, removed_after
from infoflow._inputs import Inputs, collect, device_of
from infoflow._outputs import entries
from infoflow._refusals import explained_types
from infoflow._safety import evaluating
from infoflow.attention import UnrolledAttention
from infoflow.site import Site, knows_its_units
from infoflow.units import unknown_name

if TYPE_CHECKING:
    import pandas as pd

# What these return holds, at each place, a function of what stood there: units stay where they are.
_ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU,
    nn.Mish, nn.Softplus, nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Sigmoid, nn.LogSigmoid,
    nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Hardshrink, nn.Softshrink, nn.Threshold,
    nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout,
)  # fmt: skip

# The layers of Hugging Face models that project the joined results of attention heads.
_PROJECTIONS = (
    "attn.c_proj", "attention.output.dense", "self_attn.o_proj", "attention.o_proj",
    "SelfAttention.o", "EncDecAttention.o",
)  # fmt: skip


@door()
def sites(model: nn.Module, inputs: Inputs) -> pd.DataFrame:
    """The candidate sites of a model: every layer that returns a tensor, and how to name it.

    Two samples run through the model, in evaluation mode; it leaves as it came.

    Args:
        model: Any module.
        inputs: As for `record`.

    Returns:
        One row a layer, in the order in which they are first called: `layer`, `kind` (its class),
        `shape` (of what it returns, the batch as "K"), `units`, `positions`, `calls` (in one
        pass), `pass_on` (the text to put into the list of `layers` of `record`; "" where there is
        none) and `note` (what has to be decided, why it cannot be recorded, or where attention
        heads come out).

    Raises:
        TypeError, ValueError: As `record` does for the inputs.

    Examples:
        >>> import torch, infoflow as ifl
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
        >>> ifl.sites(net, torch.randn(5, 4))[["layer", "kind", "units", "pass_on"]]
          layer    kind  units pass_on
        0     0  Linear      3     "0"
        1     1    ReLU      3     "1"
    """
    import pandas as pd

    where = device_of(model, None)
    with evaluating(model), torch.no_grad():
        given = collect(model, inputs, None)
        with _watching(model) as calls, explained_types(model, given):
            given.call(model, where, slice(0, 2))
        rows = [_row(model, path, seen) for path, seen in calls.items()]
    columns = ["layer", "kind", "shape", "units", "positions", "calls", "pass_on", "note"]
    return pd.DataFrame(rows, columns=columns)


Calls = list[tuple[Any, int | None]]
"""What a layer returned in one pass, call by call, and the unit dimension that its layer tells."""


@contextmanager
def _watching(model: nn.Module) -> Iterator[dict[str, Calls]]:
    """Hooks on every layer that follow where units lie: an elementwise layer leaves them in place.

    Only the very tensor that a known layer returned counts; after a view or a sum nothing is known.
    """
    seen: dict[str, Calls] = {}
    known: dict[int, tuple[Tensor, int]] = {}  # the tensor is kept so that its id stays its own

    def look(path: str, layer: nn.Module, args: tuple[Any, ...], value: Any) -> None:
        dim = None
        if isinstance(value, Tensor) and value.ndim >= 2:
            dim = _unit_dim(layer, args, value, known)
            if dim is not None:
                known[id(value)] = (value, dim)
        seen.setdefault(path, []).append((value, dim))

    with removed_after(
        layer.register_forward_hook(partial(look, path))
        for path, layer in plain_names(model).items()
        if path and not isinstance(layer, torch.jit.ScriptModule)  # they take no hooks
    ):
        yield seen


def _unit_dim(
    layer: nn.Module, args: tuple[Any, ...], value: Tensor, known: Mapping[int, tuple[Tensor, int]]
) -> int | None:
    if knows_its_units(layer):
        return Site("layer").resolved(layer, value).unit_dim
    given = args[0] if args and isinstance(args[0], Tensor) else None
    if given is None or given.shape != value.shape or not _is_elementwise(layer):
        return None
    return known[id(given)][1] if id(given) in known else None


def _is_elementwise(layer: nn.Module) -> bool:
    return isinstance(layer, _ELEMENTWISE) or type(layer).__module__ == "transformers.activations"


def _row(model: nn.Module, path: str, calls: Calls) -> tuple[Any, ...]:
    layer, (value, dim), count = layer_at(model, path), calls[0], len(calls)
    kind, shape = type(layer).__name__, ""

    def unfit(note: str) -> tuple[Any, ...]:
        return (path, kind, shape, 0, 0, count, "", note)

    if not isinstance(value, Tensor):
        return unfit(_inside(path, value))
    if value.ndim < 2 or len(value) != 2:  # two samples were run
        return unfit(f"its dimension 0 is not the batch: {tuple(value.shape)} for two samples")
    shape = str(("K", *value.shape[1:])).replace("'", "")
    try:
        site = Site(path, unit_dim=dim, call=0 if count > 1 else None).resolved(layer, value)
    except ValueError as error:
        return unfit(str(error))
    if not value.is_floating_point():
        return unfit(f"holds {value.dtype}, not activations")
    units, positions = (*site.read(value).shape[1:], 1)[:2]
    text = f'"{path}"' if count == 1 else f'Site("{path}", call=0)'
    note = f"called {count} times: call= says which, or call='all'" if count > 1 else ""
    return (path, kind, shape, units, positions, count, text, note or _heads(model, path))


def _heads(model: nn.Module, path: str) -> str:
    """Where the projection of an attention, of Hugging Face's or unrolled, takes the heads'
    results, side by side."""
    parent = path.rpartition(".")[0]
    above = layer_at(model, parent) if parent else model
    heads = getattr(getattr(model, "config", None), "num_attention_heads", None)
    if isinstance(above, UnrolledAttention) and path.endswith("out_proj"):
        heads = above.num_heads
    elif not isinstance(heads, int) or not path.endswith(_PROJECTIONS):
        return ""
    return f'attention heads: Site("{path}", io="input", heads={heads})'


def _inside(path: str, value: Any) -> str:
    held = [key for key, part in entries(value).items() if isinstance(part, Tensor)]
    if not held:
        return f"returns a {type(value).__name__} without tensors"
    choices = ", ".join(f"output={key!r}" for key in held)
    return f"returns a {type(value).__name__}: Site({path!r}, unit_dim=..., {choices})"


def named_sites(model: nn.Module, layers: str | Site | Sequence[str | Site]) -> tuple[Site, ...]:
    """The sites that `layers` names, patterns spelt out, in the model's order within a pattern.

    `*` and `?` stand for letters within one part of a dotted name: `"h.*.mlp.act"` is the
    activation of every block. Names of TransformerLens are known for some models (`hook_sites`).

    Raises:
        TypeError: Neither a name nor a `Site`.
        KeyError: A name or pattern that fits no layer; near misses are named.
        ValueError: No layer, or one named twice.
    """
    found = [site for _, site in _written(model, layers)]
    if not found:
        raise ValueError("expected at least one layer name, got none")
    names = [site.name for site in found]
    if len(set(names)) != len(names):
        raise ValueError(f"a layer is named more than once: {names}")
    return tuple(found)


def aliases_of(
    model: nn.Module, layers: str | Site | Sequence[str | Site], sites: Sequence[Site]
) -> dict[str, str]:
    """TransformerLens's names of `sites`: those in `layers`, and others of the same units."""
    own = {site.name: site.heads for site in sites}
    known = {
        hook: s.name for hook, s in hook_sites(model).items() if own.get(s.name, -1) == s.heads
    }
    return known | {name: site.name for name, site in _written(model, layers) if name != site.path}


def _written(
    model: nn.Module, layers: str | Site | Sequence[str | Site]
) -> Iterator[tuple[str, Site]]:
    """The sites that `layers` names, each with its name as it is written or spelt out there."""
    given = [layers] if isinstance(layers, (str, Site)) else items("layers", layers)
    hooks = hook_sites(model) if any("hook_" in _path(layer) for layer in given) else {}
    for layer in given:
        paths = [_path(layer)]
        known = list(hooks) if hooks and "hook_" in paths[0] else None
        if any(letter in paths[0] for letter in "*?"):
            paths = _matching(known or list(plain_names(model)), paths[0])
        for path in paths:
            if known is None:
                layer_at(model, path)
                yield path, replace(layer, path=path) if isinstance(layer, Site) else Site(path)
            elif path in hooks:
                yield path, _spelt_out(layer, hooks[path])
            else:
                raise KeyError(unknown_name("layer", path, known))


def _path(layer: str | Site) -> str:
    path = layer.path if isinstance(layer, Site) else layer
    if not isinstance(path, str):
        raise TypeError(f"expected names of layers or Site objects, got {path!r}: name its path")
    return path


def _spelt_out(given: str | Site, site: Site) -> Site:
    """A hook's site, with what else was said of it."""
    if isinstance(given, str):
        return site
    said = {"unit_dim": given.unit_dim, "heads": given.heads, "basis": given.basis}
    return replace(site, **{name: value for name, value in said.items() if value is not None})


# By model: the token embedding, the list of blocks, the last norm; and in a block the norm before
# its MLP, and by TransformerLens's names what an output is, or ("<") what a layer is called with.
_GPT2 = ("wte", "h", "ln_f", "ln_2", {
    "hook_attn_out": "attn.c_proj", "hook_mlp_out": "mlp", "attn.hook_z": "<attn.c_proj",
    "mlp.hook_pre": "mlp.c_fc", "mlp.hook_post": "<mlp.c_proj",
})  # fmt: skip
_LLAMA = ("embed_tokens", "layers", "norm", "post_attention_layernorm", {
    "hook_attn_out": "self_attn.o_proj", "hook_mlp_out": "mlp", "attn.hook_z": "<self_attn.o_proj",
    "attn.hook_q": "self_attn.q_proj", "attn.hook_k": "self_attn.k_proj",
    "attn.hook_v": "self_attn.v_proj", "mlp.hook_pre": "mlp.gate_proj",
    "mlp.hook_pre_linear": "mlp.up_proj", "mlp.hook_post": "<mlp.down_proj",
})  # fmt: skip
_TRUNKS = {"GPT2Model": _GPT2, "LlamaModel": _LLAMA, "MistralModel": _LLAMA, "Qwen2Model": _LLAMA}


def hook_sites(model: nn.Module) -> dict[str, Site]:
    """TransformerLens's names of what Hugging Face's GPT-2, Llama, Mistral and Qwen2 compute, each
    with the site where it is; empty for other models.

    `hook_q`, `hook_k` (before rotation) and `hook_v` of GPT-2 are parts of one output, and have no
    site of their own.

    Examples:
        >>> hook_sites(nn.Linear(2, 2))
        {}
    """
    for path, trunk in plain_names(model).items():
        known = _TRUNKS.get(type(trunk).__name__)
        if known is not None and type(trunk).__module__.startswith("transformers.models."):
            return _hooks_of(trunk, f"{path}." if path else "", *known)
    return {}


def _hooks_of(
    trunk: nn.Module,
    at: str,
    embed: str,
    blocks: str,
    last: str,
    middle: str,
    parts: dict[str, str],
) -> dict[str, Site]:
    config: Any = trunk.config
    heads = config.num_attention_heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    by_hook = {"attn.hook_z": heads, "attn.hook_q": heads}
    by_hook |= {"attn.hook_k": shared, "attn.hook_v": shared}
    count = len(list(trunk.get_submodule(blocks).children()))
    residual = [f"{at}{blocks}.{k}" for k in range(count)] + [f"{at}{last}"]
    found = {"hook_embed": Site(f"{at}{embed}", unit_dim=-1)}
    for k in range(count):
        # what a block gives is what the next one is called with, whether or not in a tuple
        places = {"pre": residual[k], "mid": f"{residual[k]}.{middle}", "post": residual[k + 1]}
        for when, path in places.items():
            found[f"blocks.{k}.hook_resid_{when}"] = Site(path, unit_dim=-1, io="input")
        for name, path in parts.items():
            io = "input" if path[0] == "<" else "output"
            inside = f"{residual[k]}.{path.removeprefix('<')}"
            found[f"blocks.{k}.{name}"] = Site(inside, unit_dim=-1, io=io, heads=by_hook.get(name))
    return found


def _matching(every: Sequence[str], pattern: str) -> list[str]:
    wanted = pattern.split(".")
    names = [name for name in every if name]
    paths = []
    for name in names:
        parts = name.split(".")
        if len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted)):
            paths.append(name)
    if not paths:
        raise KeyError(unknown_name("layer (no layer fits the pattern)", pattern, names))
    return paths


def with_known_axes(
    model: nn.Module, given: tuple[Site, ...], run: Callable[[], Any]
) -> tuple[Site, ...]:
    """`given`, with the unit dimension of activations filled in where their layer tells it; `run`
    starts one pass."""
    open_sites = [s for s in given if s.unit_dim is None and s.io == "output" and s.output is None]
    if not open_sites:
        return given
    with _watching(model) as seen:
        run()
    filled = []
    for site in given:
        dims = {dim for _, dim in seen.get(site.path, ()) if site in open_sites}
        dim = dims.pop() if len(dims) == 1 else None
        filled.append(site if dim is None else replace(site, unit_dim=dim))
    return tuple(filled)
