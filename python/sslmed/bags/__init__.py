"""Tasks on whole slides and patients: stores of features, aggregators over them, and their scores."""

from sslmed.bags.features import SlideFeatures
from sslmed.bags.fitting import Bags, Fitted, fit_bags, predict_bags
from sslmed.bags.h5 import read_h5, write_h5
from sslmed.bags.level import slide_level
from sslmed.bags.model import SlideModel, fit_slide_level
from sslmed.bags.result import SlideLevelResult
from sslmed.bags.ridge_cox import RidgeCox
from sslmed.bags.store import FeatureStore
from sslmed.bags.storing import store_features
from sslmed.bags.task import AGGREGATORS, BagTask, BagTraining

__all__ = [
    "AGGREGATORS",
    "BagTask",
    "BagTraining",
    "Bags",
    "FeatureStore",
    "Fitted",
    "RidgeCox",
    "SlideFeatures",
    "SlideLevelResult",
    "SlideModel",
    "fit_bags",
    "fit_slide_level",
    "predict_bags",
    "read_h5",
    "slide_level",
    "store_features",
    "write_h5",
]
