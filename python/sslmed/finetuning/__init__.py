"""Fine-tuning: a network is trained on the labels of a cohort by the C++ loop, and predicts other subjects."""

from sslmed.finetuning.fitted import FineTuned
from sslmed.finetuning.fitting import finetune
from sslmed.finetuning.options import PROTOCOLS, FineTuning, TrainedProtocol, named

__all__ = ["PROTOCOLS", "FineTuned", "FineTuning", "TrainedProtocol", "finetune", "named"]
