"""A comparison whose names would break a page that does not escape them."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import infoflow as ifl
from tests.conftest import SMALL

FIRST, SECOND = r"a$\frac$</script><script>alert(1)//", r"""b'"><img src=x onerror=alert(2)>&amp;"""
MINE = r"""mine "quoted", $\frac$ </script>"""


@pytest.fixture(scope="package")
def nasty() -> ifl.Comparison:
    torch.manual_seed(0)
    net = nn.Sequential()
    net.add_module(FIRST, nn.Linear(4, 4))
    net.add_module(SECOND, nn.Linear(4, 3))
    x = torch.randn(60, 4)
    rec = ifl.record(net, [FIRST, SECOND], x, net(x).argmax(1), loss=cross_entropy)
    return ifl.compare(rec, partitions={MINE: [0, 1, 0, 1, 0, 1, 0]}, **SMALL)
