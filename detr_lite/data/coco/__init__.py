"""COCO's panoptic format: read, checked, written, converted, fetched."""
