"""Smaller updates for federated learning: codecs of tensors and of state dictionaries.

This is the codec only: no transport, no server, no aggregation and no privacy. ``docs/federated.md`` says which method
is unbiased, what each one costs, and what must be heeded under differential privacy.
"""

from sslmed.federated.codec import METHODS, compress, decompress
from sslmed.federated.compressed import Compressed
from sslmed.federated.feedback import ErrorFeedback
from sslmed.federated.updates import CompressedUpdate, compress_update, decompress_update

__all__ = ["METHODS", "Compressed", "CompressedUpdate", "ErrorFeedback", "compress", "compress_update", "decompress", "decompress_update"]
