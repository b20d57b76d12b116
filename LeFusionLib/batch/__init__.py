"""`lefusion batch`: many cases from a table, one row a lesion; run again to go on where it stopped."""

from .cases import BatchCase, BatchSettings, make_case
from .engines import ENGINES
from .run import run_batch
from .table import read_cases

__all__ = ["ENGINES", "BatchCase", "BatchSettings", "make_case", "read_cases", "run_batch"]
