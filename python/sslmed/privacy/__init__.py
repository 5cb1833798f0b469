"""Accounts of differential privacy: a ledger of steps that survives crashes, and the noise that a promise needs."""

from sslmed.privacy.accounting import ACCOUNTANTS, RELATIONS
from sslmed.privacy.calibration import gaussian_sigma, noise_multiplier
from sslmed.privacy.ledger import Budget, BudgetError, Ledger

__all__ = ["ACCOUNTANTS", "RELATIONS", "Budget", "BudgetError", "Ledger", "gaussian_sigma", "noise_multiplier"]
