"""What the modules of a partition send each other when each in turn is forced to change."""

from infoflow.exchanges.measure import exchange, module_flow
from infoflow.exchanges.meter import ExchangeMeter, PartitionLike
from infoflow.exchanges.result import Exchange, Values

__all__ = ["Exchange", "ExchangeMeter", "PartitionLike", "Values", "exchange", "module_flow"]
