"""Finished tables -> what people look at. Knows nothing of Ray, and runs no model."""
