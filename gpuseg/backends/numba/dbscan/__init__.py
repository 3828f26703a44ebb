"""CPU kernels of DBSCAN: rows in tiles, a tree of boxes over the tiles, and a grid of cells."""
