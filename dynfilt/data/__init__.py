"""Datasets as uint8 tensors, their seeded splits, batches and augmentation."""
