"""The public functions and constructors that the fuzz calls, with what each argument is."""

# ruff: noqa: E501  (a table)
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import infoflow as ifl
from infoflow import checkpoint, data, models, study, sweep, toys, train
from infoflow.agreements import MEASURES as AGREEMENTS
from infoflow.clustering.find import Method as QMethods
from infoflow.forcing import Forcing
from infoflow.interventions.kinds import Mean, Noise, Resample, Scale, Set, Shuffle, Zero
from infoflow.measured import CORRECTIONS, WEIGHTINGS, Binning, Draws, Objective
from infoflow.searching import module_score
from tests.fuzzing import Door
from tests.odd_values import (
    INF,
    MASKED,
    NAN,
    ODD_THINGS,
    Odd,
    flag,
    matrix,
    name,
    names,
    partition,
    path,
    real,
    seed,
    thing,
    units,
    unsized,
    whole,
)  # fmt: skip
from tests.sweep_functions import square

N = 8


def network() -> nn.Sequential:
    with models.isolated_rng(0):
        return nn.Sequential(
            nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)
        )


NET = network()
with models.isolated_rng(1):
    X, Y = torch.randn(16, 3), torch.arange(16) % 2
REC = ifl.record(NET, ["1", "3"], X, Y, loss=nn.functional.cross_entropy)
LABELS = [0, 0, 1, 1, 0, 1, 0, 1]
S = np.abs(np.corrcoef(np.random.default_rng(0).normal(size=(6, 9)))) + 0.01
rec = thing(NET, None, {}, [1])
objective = name("codes", ("gaussian",))
draws: dict[str, Odd] = {
    "rec": rec,
    "donors": whole(4, 2, extra=("all",)),
    "contexts": whole(4, 2, extra=("all",)),
    "bins": whole(3, 2, extra=("unique", Binning(3))),
    "seed": seed(),
}
LITTLE: dict[str, Any] = {"rec": REC, "donors": 4, "contexts": 4, "bins": 3, "seed": 0}
coded = {"coding": name("units", ("joint",)), "pool": name("mean", ("max",))}
scheduled = {"scheduler": Odd((), (None,), (5, NAN, True, "", [], {}, object()))}
corrected = {"correction": name("none", ("miller_madow", "chao_shen"))}
forced = Odd(
    other=("empirical", "uniform"), bad=(None, 5, NAN, "", "nonsense", True, [], {}, object())
)
how = {"do": forced, "direct": flag(False), "progress": flag(False)}
effort = {
    "restarts": whole(1, 0, none=True),
    "perturbations": whole(2, 0, none=True),
}
sim = {
    "rec": rec, "eps": real(1e-12, (-1.0, -1e-9)), "positions": whole(1, 1, extra=("mean", "each")),
    "seed": seed(), "fast": flag(True), "method": name("exact", ("auto",)),
    "probes": whole(4, 2), "progress": flag(False),
}  # fmt: skip
SIM: dict[str, Any] = {"rec": REC, "method": "exact", "layers": ["1"], "eps": 1e-12, "seed": 0}
SIM |= {"probes": 4, "fast": True, "positions": "mean"}
NULL = Odd(
    other=("degree", "uniform", S, -S), bad=(None, 5, NAN, "", "nonsense", S[0], S[:-1], S * NAN, S * INF,
    S * 1j, np.triu(S), [[1, 2], [3]], np.eye(3), *ODD_THINGS)
)  # fmt: skip
UNUSABLE = Odd(bad=(None, 5, 2.5, NAN, True, "", "\0", ["x"], *ODD_THINGS))
_part = partition([0, 0, 0, 1, 1, 1])
layer_names = names(["1"])
fns = (5, NAN, "", "nonsense", True, X, *(x for x in ODD_THINGS if not callable(x)))


def doors(folder: Path) -> dict[str, Door]:
    """All of them; `folder` is there and empty."""
    saved = REC.save(folder / "rec")
    toy = train.train(train.TrainConfig(hidden=(4,), max_epochs=0), data.load("digits"))
    checkpoint.save_checkpoint(toy, folder / "net.safetensors")
    search = {
        "n_modules": whole(2, 2, none=True, extra=(range(2, 4),)), "method": name("sampling", ("climbing",)),
        "weighting": name("ncut", ("none", "pairs")), "given_context": flag(True),
        "objective": objective, "budget": whole(4, 1), "samples": whole(3, 2),
        "tolerance": real(5.0, (0, -1.0), none=True), "restarts": whole(1, 1),
        "groups": Odd(bad=(1, -1, 2.5, NAN, "x", True, [], {})),
        "seeds": Odd(bad=(None, 5, NAN, "", "spectral", ["nonsense"], [5], [None], {"a": 1}, {"q"}, object())), "confidence": whole(0, 0), **draws, **coded,
        "do": how["do"], "progress": flag(False),
    }  # fmt: skip
    some = Odd(good=((LABELS,),), bad=(5, NAN, [5], [LABELS[:-1]], ["01"], None, [None]))
    return {
        "flow": Door(
            ifl.flow, {**LITTLE, "source": [0, 1], "target": [5, 6]},
            {**draws, **coded, **corrected, **how, "n_null": whole(3, 0),
             "source": units([0, 1], N, "1"), "target": _later(units([5, 6], N, "3"))},
        ),
        "unit_flow": Door(
            ifl.unit_flow, LITTLE, {**draws, **scheduled, "method": name("measured"), "bins": whole(3, 2), "pool": coded["pool"], "direct": flag(False),
                                    "given_context": flag(False), "progress": flag(False)},
        ),
        "exchange": Door(
            ifl.exchange, {**LITTLE, "partition": LABELS},
            {**draws, **scheduled, **coded, **corrected, **how, "partition": partition(LABELS),
             "weighting": name("ncut", WEIGHTINGS[:3]), "given_context": flag(True),
             "objective": objective},
        ),
        "module_flow": Door(
            ifl.module_flow, {**LITTLE, "partition": LABELS},
            {**draws, **coded, **corrected, **how, "partition": partition(LABELS),
             "given_context": flag(False)},
        ),
        "search": Door(
            ifl.search, {**LITTLE, "method": "sampling", "budget": 4, "samples": 3, "seeds": ()},
            {**search, **scheduled, "starts": some}, slow=True,
        ),
        "compare": Door(
            ifl.compare, {**LITTLE, "budget": 4, "samples": 3},
            {**draws, "do": forced, **{k: search[k] for k in ("weighting", "given_context", "objective", "budget",
                                                "samples", "coding", "progress")},
             "n_modules": whole(2, 2), "same_size": whole(3, 2), "proxies": flag(False),
             "methods": Odd(bad=(None, 5, NAN, "", "sampling", [], ["nonsense"], ["sampling", 5], {"a": 1})), "q_method": name("spectral"),
             "partitions": Odd(bad=(5, NAN, "x", [LABELS], {"mine": LABELS[:-1]}, {"mine": 5},
                                    {5: LABELS}, {"causal search": LABELS}, {"mine": None}))},
            slow=True,
        ),
        "how_many": Door(
            ifl.how_many, {"rec": REC, "n_null": 9, "alpha": 0.2, "seed": 0},
            {"rec": rec, "alpha": real(0.2, (0.0, 1.0, -1, 2)), "n_null": whole(9, 1),
             "seed": seed()}, slow=True,
        ),
        "module_score": Door(
            module_score, {"rec": REC, "partition": LABELS, "samples": 2},
            {"rec": rec, "partition": partition(LABELS), "samples": whole(2, 2), "seed": seed(),
             "weighting": search["weighting"], "tolerance": search["tolerance"],
             "objective": objective}, slow=True,
        ),
        "counterfactual": Door(
            ifl.counterfactual, {"rec": REC, "source": {"1": [0]}, "observe": "3"},
            {"rec": rec, "source": Odd(units([0, 1], N, "1").other, (), units([0], N, "1").bad),
             "observe": name("3", ("1",)), "seed": seed(), "replay": flag(True),
             "progress": flag(False)},
        ),
        "similarity": Door(
            ifl.similarity, {**SIM, "measure": "cov"},
            {**sim, "layers": layer_names, "measure": name("cov", ("o_sens_norm", "hess"))},
        ),
        "similarities": Door(
            ifl.similarities, {**SIM, "measures": ["cov"]},
            {**sim, "layers": layer_names, "measures": names(["cov"])},
        ),
        "similarities_by_layer": Door(
            ifl.similarities_by_layer, {**SIM, "measures": ["cov"]},
            {**sim, "layers": layer_names, "measures": names(["cov"])},
        ),
        "find_modules": Door(
            ifl.find_modules, {"S": S, "n_steps": 10, "restarts": 1, "perturbations": 1},
            {"S": matrix(S), "method": name("spectral", QMethods.__args__), "seed": seed(),
             "n_steps": whole(5, 0), "n_modules": whole(2, 1, none=True), **effort,
             "proof_seconds": real(0.0, (-1.0,)), "resolution": real(1.0, (-1.0,)),
             "initial": Odd(_part.good, (None,), tuple(x for x in _part.bad if x is not None)),
             "null": NULL},
        ),
        "modularity": Door(
            ifl.modularity, {"S": S, "partition": [0, 0, 0, 1, 1, 1]},
            {"S": matrix(S), "partition": partition([0, 0, 0, 1, 1, 1]),
             "resolution": real(1.0, (-1.0,)),
             "null": NULL},
        ),
        "agreement": Door(
            ifl.agreement, {"a": LABELS, "b": LABELS[::-1]},
            {"a": partition(LABELS), "b": partition(LABELS[::-1]),
             "measure": name("element", AGREEMENTS[1:2]), "unused": name("drop", ("cluster",))},
        ),
        "check": Door(
            ifl.check, {"rec": REC, "rows": 4},
            {"rec": rec, "rows": whole(4, 1), "seed": seed()}, slow=True,
        ),
        "record": Door(
            ifl.record, {"model": NET, "layers": ["1"], "inputs": X, "targets": Y},
            {
                "model": thing(X, "1", None),
                "layers": Odd(("1", ("1",), np.array(["1"]), ifl.Site("1"), iter(["1"])), (),
                              (*names(["1"], none=False).bad, "1.9", ifl.Site("nowhere"))),
                "inputs": Odd((X.numpy(), X.tolist(), (X,), [X], X.clone()), (), (
                    None, 5, NAN, True, "", "nonsense", X[:1], X[:0], X * NAN, X / 0, X[:, :2],
                    X[0], X.long(), X.numpy().astype(str), [[1.0, 2.0], [1.0]], MASKED, [X, Y],
                    {"nonsense": X}, np.array([None] * 16), X.to_sparse(), *ODD_THINGS)),
                "targets": Odd((Y.numpy(), Y.tolist(), Y.int()), (None,), (
                    5, NAN, True, "", "nonsense", Y[:-1], Y.numpy().astype(str), [None] * 16,
                    Y * NAN, Y / 0, np.ma.masked_equal(Y.numpy(), 0), *ODD_THINGS)),
                "loss": Odd((), (nn.functional.cross_entropy, nn.CrossEntropyLoss()), fns),
                "loss_of": name("output"),
                "batch_size": whole(7, 1),
                "device": Odd(("cpu",), (torch.device("cpu"), None),
                              (5, NAN, "", "nonsense", "cuda:99", True, *ODD_THINGS)),
                "basis": Odd((), (None, "pca", "random", np.eye(4), {"1": "pca"}, {}), (
                    5, NAN, True, "", "nonsense", np.eye(3), np.eye(4) * NAN, np.ones((4, 4)),
                    {"nonsense": "pca"}, {"1": "nonsense"}, {"1": None}, MASKED, *(x for x in ODD_THINGS if x != {} and not callable(x)))),
                "mask": Odd((), (None, False), (
                    5, NAN, True, "", "nonsense", np.ones((3, 3)), X * NAN, MASKED, *ODD_THINGS)),
                "output": Odd((), (None,), (2.5, NAN, "nonsense", 7, [], {}, b"x", object())),
                "store": Odd((), (None,), (5, 2.5, NAN, True, "", *ODD_THINGS)),
                "progress": flag(False),
            },
        ),
        "sites": Door(
            ifl.sites, {"model": NET, "inputs": X},
            {"model": thing(X, None), "inputs": Odd((X.numpy(), (X,)), (), (
                None, 5, NAN, "", "nonsense", X[:, :2], X[0], *ODD_THINGS))},
        ),
        "unrolled": Door(ifl.unrolled, {"model": nn.Sequential(nn.GRU(2, 2))}, {"model": thing(X, None, REC)}),
        "do": Door(
            _done, {"model": NET, "interventions": {"1": ([0], 0.0)}},
            {"model": thing(X, None), "recording": thing(NET, none=True),
             "interventions": Odd(
                 ({"1": Set([0], 0.0)}, {"1": ([0], np.float32(0))}, {"1": (np.array([0]), 0)},
                  {"1": Zero([0])}, {"1": (torch.tensor([0]), torch.zeros(1))}), (),
                 (None, 5, "", "1", [], [("1", 0)], {"nonsense": ([0], 0.0)}, {"1": None},
                  {"1": 5}, {"1": ([9], 0.0)}, {"1": ([0], NAN)}, {"1": ([0], "x")},
                  {"1": ([0], None)}, {"1": ([0], [1.0, 2.0])}, {"1": ([0, 0], 0.0)},
                  {"1": ([0.5], 0.0)}, {5: ([0], 0.0)}, {"1": ([0],)}, {"1": Mean([0])},
                  {"1": ([0], [[1.0], [2.0], [3.0]])}, {"1": "x"}, object(), b"x"))},
        ),
        "lesions": Door(
            ifl.lesions, {"rec": REC, "partition": LABELS, "donors": 1},
            {"rec": rec, "partition": partition(LABELS), "donors": whole(1, 1), "seed": seed(),
             "progress": flag(False), "tasks": Odd((), (None, {}), (5, "x", [], {5: print}))},
        ),
        "report": Door(
            ifl.report, {"comparison": _search_result(), "path": folder / "r.html", "measure": False},
            {"comparison": thing(REC, None), "path": UNUSABLE, "measure": flag(False),
             "title": Odd(bad=(None, 5, NAN, "", b"x", [])),
             "rec": Odd(bad=(5, NET, "x", {}, X)), **dict.fromkeys(
                 ("about", "settings", "references"), Odd(bad=(5, NAN, "x", [], {5: 5})))}, slow=True,
        ),
        "load": Door(
            ifl.load, {"path": saved, "model": NET},
            {"path": path(saved), "model": thing(X, none=True), "loss": Odd((), (None,), fns)},
        ),
        "Partition": Door(ifl.Partition, {"labels": LABELS}, {"labels": unsized(LABELS)}),
        "Partition.from_modules": Door(
            ifl.Partition.from_modules, {"modules": [[0, 2], [1]], "n": 4},
            {"n": whole(4, 0), "modules": Odd(
                (((0, 2), (1,)), [np.array([0, 2]), np.array([1])], [torch.tensor([0, 2]), [1]]), (),
                (None, 5, NAN, "x", [[0, 0]], [[9]], [[-1]], [[0.5]], [["0"]], [[None]], [[0], [0]],
                 [0, 1], [[NAN]], {0: [1]}, object()))},
        ),
        "Site": Door(
            ifl.Site, {"path": "1"},
            {"path": Odd((np.str_("1"),), ("a.b",), (
                None, 5, NAN, True, *ODD_THINGS)),
             "unit_dim": Odd((), (None, 1, -1, np.int64(1)), (2.5, NAN, "", "x", True, [1], 10**18,
                                                              *ODD_THINGS)),
             "call": Odd((), (None, 0, 3, "all", np.int64(3)), (-1, 2.5, NAN, "", "x", True, [1],
                                                                *ODD_THINGS)),
             "io": name("output", ("input",)), "heads": whole(2, 1, none=True),
             "output": Odd((), (None, 0, -1, "key", np.int64(0)), (2.5, NAN, "", True, [1],
                                                               *ODD_THINGS)),
             "positions": Odd((), (None, [0, -1], (0,), np.array([0]), torch.tensor([0]), range(2)), (
                 2.5, NAN, "", "x", True, [0.5], ["0"], [NAN], [[0, 1]], MASKED, *ODD_THINGS)),
             "basis": thing(np.eye(2), none=True)},
        ),
        "Store": Door(
            ifl.Store, {"folder": "x", "memory": "1 GB"},
            {"folder": Odd((), (Path("x"),), (None, 5, NAN, True, "", *ODD_THINGS)),
             "memory": Odd((), (10**9, "1GB", np.int64(10**9)), (
                 0, -1, 2.5e-9, NAN, INF, "", "x", "1 XB", "-1 GB", "1..2 GB", ".", None, True,
                 [1], *ODD_THINGS))},
        ),
        "UnitSpace": Door(
            ifl.UnitSpace, {"sites": (ifl.Site("a"), ifl.Site("b")), "sizes": (2, 3),
                            "unused": np.zeros(5, bool)},
            {"sites": Odd(([ifl.Site("a"), ifl.Site("b")],), (), (
                None, 5, "ab", ["a", "b"], (ifl.Site("a"),), (ifl.Site("a"),) * 2, [], {})),
             "sizes": Odd(([2, 3], np.array([2, 3])), (), (None, 5, "23", (2,), (2, -3), (2, 2.5),
                                                          (2, NAN), (2, "3"), (2, 4), {}, [])),
             "unused": Odd((), ([False] * 5, np.ones(5, bool)), (
                 None, 5, NAN, "", np.zeros(4, bool), np.zeros(5) + 0.5, "00000", [None] * 5, {}))},
        ),
        "UnitSpace.indices": Door(
            lambda layers: REC.units.indices(layers), {"layers": ["1"]},
            {"layers": Odd(layer_names.good, (None, [], ["1", "1"]), tuple(
                x for x in layer_names.bad if not isinstance(x, (list, tuple)) or repr(x) in ("[5]", "[None]")))},
        ),
        "UnitSpace.flat": Door(
            lambda units: REC.units.flat(units), {"units": [0, 1]}, {"units": units([0, 1], N, "1")}
        ),
        "Recording.matrix": Door(REC.matrix, {"layers": ["1"]}, {"layers": layer_names}),
        "Recording[...]": Door(
            lambda layer: REC[layer], {"layer": "1"}, {"layer": name("1", ("3",))}
        ),
        "Draws": Door(
            Draws, {"donors": 4, "contexts": 4, "bins": 3, "seed": 0},
            {**{k: v for k, v in draws.items() if k != "rec"}, **coded, "direct": flag(False),
             "correction": name("auto", CORRECTIONS[1:3]), "do": how["do"]},
        ),
        "Binning": Door(
            Binning, {"count": 3},
            {"count": whole(3, 2), "kind": name("width", ("quantiles",)),
             "group": name("projection", ("kmeans",)),
             "edges": Odd((), ([0, 1], (0.0, 1.0), np.array([0.0, 1.0]), torch.tensor([0.0, 1]), None),
                          (5, NAN, "", "01", [1, 0], [0, 0], [0, NAN], [], ["a"], [[0, 1]], {}, [None],
                           [0, INF], MASKED, object()))},
        ),
        "Objective": Door(
            Objective, {},
            {"weighting": name("ncut", WEIGHTINGS[:3]), "given_context": flag(True),
             "estimate": objective, "resolution": real(3.0, (0.5, 0, -1))},
        ),
        "Forcing": Door(
            Forcing, {},
            {"values": Odd((), ("empirical", "uniform", print), (
                None, 5, NAN, "", "nonsense", True, [], {}, object())),
             "within": Odd((), (None, "targets", [0, 1], np.array([0, 1])), (
                 5, NAN, "", "nonsense", True, {}, [[0, 1]], object(), [NAN], [None])),
             "marginal": name("mixture", ("observed",))},
        ),
        "Set": Door(Set, {"units": [0]}, {"values": Odd((), (0, 1.5, [1.0], np.ones(1)), (
            None, NAN, INF, "", "x", {}, object(), [None], ["1"], 1j)), **_of_layer()}),
        "Scale": Door(Scale, {"units": [0]}, {"factor": real(2.0), **_of_layer()}),
        "Noise": Door(Noise, {"units": [0]}, {"std": real(2.0, (-1.0,)), "seed": seed(), **_of_layer()}),
        "Resample": Door(Resample, {"units": [0]}, {"seed": seed(), **_of_layer()}),
        "Shuffle": Door(Shuffle, {"units": [0]}, {"seed": seed(), **_of_layer()}),
        "TrainConfig": Door(
            train.TrainConfig, {},
            {"dataset": Odd((np.str_("digits"),), (), (None, 5, NAN, "", True, *ODD_THINGS)),
             "hidden": Odd(([64, 64], np.array([64, 64]), torch.tensor([64, 64])), ([3],), (
                 None, 5, NAN, "", "64", [], [0], [-1], [2.5], ["3"], [None], [NAN], [[3]], {}, [True])),
             "dropout": real(0.5, (-0.1, 1.0, 2.0)), "l1": real(0.5, (-0.1,)), "seed": seed(),
             "l2": real(0.5, (-0.1,)), "lr": real(0.5, (-0.1, 0.0)), "batch_size": whole(3, 1),
             "max_epochs": whole(3, 0), "plateau_factor": real(0.5, (0.0, 1.0, -1)),
             "plateau_patience": whole(3, 0), "early_stop_patience": whole(3, 1),
             "validation_fraction": real(0.5, (0.0, 1.0, -1))},
        ),
        "mlp": Door(
            models.mlp, {"d": 2, "hidden": (3,), "seed": 0},
            {"d": whole(2, 1), "n_classes": whole(2, 1), "dropout": real(0.5, (-0.1, 1.0, 2.0)),
             "seed": Odd(seed().good, (None,), tuple(x for x in seed().bad if x is not None)),
             "hidden": Odd(([3], np.array([3])), (), (None, 5, "3", [], [0], [2.5], ["3"], {}, [NAN]))},
        ),
        "data.load": Door(data.load, {"name": "digits"}, {"name": name("digits")}, slow=True),
        "load_digits": Door(
            data.load_digits, {},
            {"test_fraction": real(0.2, (0.0, 1.0, -0.1, 2)), "seed": seed()}, slow=True,
        ),
        "toys.load": Door(toys.load, {"name": "copy"}, {"name": name("copy", ("xor_one",))}),
        "toys.load_modules": Door(
            toys.load_modules, {"name": "nested_modules"}, {"name": name("nested_modules")}
        ),
        "toys.train_toy": Door(
            toys.train_toy, {"name": "retina"}, {"name": name("retina"), "seed": seed()}, slow=True
        ),
        "toys.check": Door(toys.check, {"toy": "copy"}, {"toy": name("copy")}, slow=True),
        "toys.table": Door(
            toys.table, {"names": ["copy"]}, {"names": Odd(bad=tuple(
                x for x in names(["copy"]).bad if not (isinstance(x, list) and "copy" in x)))}, slow=True
        ),
        "load_checkpoint": Door(
            checkpoint.load_checkpoint, {"path": folder / "net.safetensors"},
            {"path": path(folder / "net.safetensors")},
        ),
        "save_checkpoint": Door(
            checkpoint.save_checkpoint, {"result": toy, "path": folder / "net2.safetensors"},
            {"result": thing(NET, REC, None), "path": UNUSABLE},
        ),
        "Recording.save": Door(
            REC.save, {"path": folder / "again", "overwrite": True},
            {"path": UNUSABLE, "overwrite": flag(True)},
            slow=True,
        ),
        "sweep": Door(
            sweep.sweep, {"function": square, "tasks": [{"x": 1}], "folder": folder / "s"},
            {"function": Odd((), (), (None, 5, "", "square", NAN, lambda x: {"y": x}, {}, object())),
             "tasks": Odd((({"x": 1},), iter([{"x": 1}])), (), (
                 None, 5, NAN, "", "x", [5], [None], ["x"], [{"x": object()}], [{5: 1}], [{"x": NAN}],
                 [{"x": 1}, {"x": 1}], {"x": 1}, object())),
             "folder": Odd((str(folder / "s"),), (), (None, 5, NAN, True, "", *ODD_THINGS)),
             "fixed": Odd((), (None, {}), (5, NAN, "", "x", True, [1], {"x": 2}, {"p": object()},
                                           {5: 5}, {"p": NAN})),
             "workers": whole(1, 1), "shard": Odd(([1, 1],), (), (
                 None, 5, (0, 1), (2, 1), (1,), (1, 2, 3), "11", (1.5, 2), (NAN, 1), ("1", "1"), {})),
             "scheduler": Odd((), (None,), (5, NAN, True, "", [], {}, object())),
             "progress": flag(False)},
        ),
        "load_sweep": Door(
            sweep.load_sweep, {"folder": folder / "s"}, {"folder": path(folder / "s")}, slow=True
        ),
        "study.encode": Door(study.encode, {"partition": LABELS}, {"partition": unsized(LABELS)}),
        "study.decode": Door(
            study.decode, {"text": "001."},
            {"text": Odd((np.str_("001."),), ("",), (
                None, 5, NAN, True, "é", "0,x", "1,,2", "0, nan", "0 1", *ODD_THINGS))},
        ),
        "study.load_table": Door(
            study.load_table, {"path": "nowhere.csv"}, {"path": path("nowhere.csv")}, slow=True
        ),
    }  # fmt: skip


def _search_result() -> ifl.SearchResult:
    options = {"budget": 4, "samples": 3, "donors": 4, "contexts": 4, "seeds": ()}
    return ifl.search(REC, method="sampling", **options)  # type: ignore[arg-type]


def _later(found: Odd) -> Odd:
    """Without those that name another layer."""
    return Odd(tuple(x for x in found.good if not isinstance(x, dict)), (), found.bad)


def _of_layer() -> dict[str, Odd]:
    return {"units": Odd((), (None, [0, 1], np.array([0]), torch.tensor([0]), 0, range(2)), (
        NAN, 2.5, "", "x", [0.5], ["0"], [None], [[0]], {}, object(), True, [NAN], MASKED))}  # fmt: skip


def _done(**arguments: Any) -> torch.Tensor:
    with ifl.do(**arguments), torch.no_grad():
        return NET(X)
