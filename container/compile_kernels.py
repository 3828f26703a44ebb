"""Compile the CPU kernels, so that the first run need not."""

import datetime

import numpy as np
import pyarrow as pa

import gpuseg

x = np.array([[0.0], [1.0], [3.0]], np.float32)
gpuseg.KMeans(2).fit(x)
gpuseg.DBSCAN().fit(x)
gpuseg.DBSCAN().fit(x.repeat(3, axis=1)).predict(x.repeat(3, axis=1))
lines = pa.table({"who": [1], "paid": [1.0], "at": [datetime.date(2025, 1, 1)]})
gpuseg.features.from_transactions(lines, customer="who", time="at", amount="paid")
y = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
gpuseg.Preprocessor(transforms="yeo-johnson", pca=1).fit(y)
gpuseg.select_k(y, [2, 3])
