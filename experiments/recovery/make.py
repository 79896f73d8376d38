"""Train the networks that are stored, and write what they are into weights/manifest.json.

python -m experiments.recovery.make
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import torch

from experiments.recovery import nothing, planted, trained
from experiments.recovery.known import KnownNetwork
from infoflow._provenance import versions

DATA = (
    "handwritten digits of E. Alpaydin and C. Kaynak (UCI Optical Recognition of Handwritten "
    "Digits, CC BY 4.0), as scikit-learn carries them (BSD-3-Clause); all else is drawn"
)


def fingerprint(net: KnownNetwork) -> dict[str, Any]:
    """What tells a network that is generated anew from another: sums, which rounding spares."""
    weights = sum(float(p.detach().double().abs().sum()) for p in net.model.parameters())
    return {
        "units": len(net.labels),
        "labels": hashlib.sha256(net.labels.astype("int8").tobytes()).hexdigest()[:16],
        "weights": round(weights, 3),
        "inputs": round(float(net.inputs.double().abs().sum()), 3),
    }


def store(family: str, names: Iterable[str]) -> dict[str, Any]:
    """Train a family and write its weights; what the manifest says of it."""
    from safetensors.torch import save

    tensors, networks = {}, {}
    for name in names:
        model, accuracy = trained.train(name)
        tensors |= {f"{name}/{key}": value for key, value in model.state_dict().items()}
        networks[name] = {"accuracy": round(accuracy, 4)}
        print(name, networks[name], flush=True)
    written = save(tensors)
    trained.WEIGHTS.mkdir(exist_ok=True)
    (trained.WEIGHTS / f"{family}.safetensors").write_bytes(written)
    return {"sha256": hashlib.sha256(written).hexdigest(), "networks": networks}


def main() -> None:
    """Train all, in about ten minutes."""
    torch.set_num_threads(1)
    files = {
        f"{family}.safetensors": store(
            family, [n for n in trained.NAMES if n.startswith(family + "-")]
        )
        for family in trained.COUNTS
    }
    generated = {n: fingerprint(m.build(n)) for m in (planted, nothing) for n in m.NAMES}
    manifest = {
        "licence": "MIT, as the rest of this project",
        "data": DATA,
        "seeds": "a name's seed is trained.Plan.seed; inputs are drawn from it + 50000",
        "versions": versions(),
        "files": files,
        "generated": generated,
    }
    path = trained.WEIGHTS / "manifest.json"
    path.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
