"""Tasks on whole slides and patients: aggregators over bags of features."""

from sslmed.bags.task import AGGREGATORS, BagTask, BagTraining

__all__ = ["AGGREGATORS", "BagTask", "BagTraining"]
