"""What the modules of a partition send each other when each in turn is forced to change."""

from infoflow.exchanges.measure import exchange, module_flow
from infoflow.exchanges.meter import ExchangeMeter, PartitionLike
from infoflow.exchanges.result import Exchange

__all__ = ["Exchange", "ExchangeMeter", "PartitionLike", "exchange", "module_flow"]
