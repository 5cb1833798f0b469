"""Pieces for federated learning: codecs of tensors and of state dictionaries, and the server's step.

No transport and no privacy: :class:`Aggregator` is what a strategy of a framework calls. ``docs/federated.md`` says which method
is unbiased, what each one costs, and what must be heeded under differential privacy.
"""

from sslmed.federated.aggregation import Aggregator
from sslmed.federated.codec import METHODS, compress, decompress
from sslmed.federated.compressed import Compressed
from sslmed.federated.feedback import ErrorFeedback
from sslmed.federated.updates import CompressedUpdate, compress_update, decompress_update

__all__ = ["METHODS", "Aggregator", "Compressed", "CompressedUpdate", "ErrorFeedback", "compress", "compress_update", "decompress", "decompress_update"]
