"""Finished tables -> what people look at. Knows neither Ray nor models."""
