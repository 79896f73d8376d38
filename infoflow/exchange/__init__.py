"""What the modules of a partition send each other when each in turn is forced to change."""

from infoflow.exchange.measure import exchange, module_flow
from infoflow.exchange.meter import ExchangeMeter, PartitionLike
from infoflow.exchange.result import Exchange

__all__ = ["Exchange", "ExchangeMeter", "PartitionLike", "exchange", "module_flow"]
