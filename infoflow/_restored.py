"""A recording's network and loss, which no file holds: told apart when one is saved, and checked
when it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from infoflow._files import digest
from infoflow._inputs import device_of
from infoflow._safety import evaluating
from infoflow._unchanged import fingerprint
from infoflow.saving import Absent


def about_network(
    model: nn.Module, loss: Any, inputs: Sequence[Tensor], versions: Mapping[Any, Any]
) -> dict[str, Any]:
    """What a saved recording says about what it runs with: the network's class and weights, what in
    its fingerprint changes by itself as it runs, and the loss's name."""
    moving = [key for key in fingerprint(model, inputs) if key not in versions] if versions else []
    return {"network": _network(model), "loss": _loss_name(loss), "moving": moving}


def restored(
    cls: Callable[..., Any],
    values: Mapping[str, Any],
    about: Mapping[str, Any],
    model: nn.Module | None,
    loss: Any,
) -> Any:
    """The recording that was saved, with its network if that is given.

    Raises:
        ValueError: Not the network that was recorded.
    """
    name = about["loss"] or ""
    if loss is None and name.startswith("torch."):
        loss = getattr(nn.functional, name[6:], None)
    if model is None:
        return cls(**values, model=Absent().eval(), loss=loss, device=torch.device("cpu"))
    if _network(model) != about["network"]:
        raise ValueError(
            f"expected the network that was recorded, a {about['network']}, got a "
            f"{_network(model)}: other weights, or layers of other names"
        )
    rec: Any = cls(**values, model=model, loss=loss, device=device_of(model, None))
    rows = next(rec.batches())
    with evaluating(model, rec.snapshot()), torch.no_grad():
        found, recorded = rec.output(rec.call(rec.rows(rows))).cpu(), rec.outputs[rows]
    off = 1e-3 * recorded.abs().max()  # another device, another batch: more is another function
    if found.shape != recorded.shape or (found - recorded).abs().max() > off:
        raise ValueError(
            "the network has the recorded one's weights and gives other outputs: functions "
            "between its layers differ, such as an activation"
        )
    moving = {tuple(key) for key in about["moving"]}
    now = fingerprint(model, rec.inputs)
    return replace(rec, versions={key: known for key, known in now.items() if key not in moving})


def _network(model: nn.Module) -> str:
    """A network's class and a hash of its weights."""
    weights = {name: w.detach().cpu().contiguous() for name, w in model.state_dict().items()}
    parts = [w.flatten().view(torch.uint8).numpy().tobytes() for w in weights.values()]
    return f"{type(model).__name__} {digest({'names': list(weights)}, *parts)}"


def _loss_name(loss: Any) -> str | None:
    name = getattr(loss, "__name__", None)
    own = name is not None and getattr(nn.functional, name, None) is loss
    return f"torch.{name}" if own else name
