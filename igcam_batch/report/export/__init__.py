"""Finished tables -> forms that other programs read: pictures, NumPy, FiftyOne, COCO. A shard at a time."""
