"""Scans: the recurrences of Mamba (`selective_scan`, several backends) and Mamba-2 (`state_space_dual`)."""

from .backends import Backend, BackendChoice, ScanNeeds, choose_backend
from .reference_scan import reference_scan
from .scan_result import ScanResult
from .selective_scan import selective_scan
from .state_space_dual import DualResult, state_space_dual

__all__ = [
    "Backend",
    "BackendChoice",
    "DualResult",
    "ScanNeeds",
    "ScanResult",
    "choose_backend",
    "reference_scan",
    "selective_scan",
    "state_space_dual",
]
