"""Data: samples from any source, and the batches that they become."""
