"""Two runs on the same images: two models, layers, or methods."""
