"""The explanation engine: models, layers, paths, quadrature, maps. Knows torch only."""
