"""A segmentation as an ONNX model: from raw columns to segment and distance, in float64.

The graph repeats gpuseg's own arithmetic: + − × ÷ and √ in the same order, and roundings to float32
at the same places. There is no matrix product and no sum over an axis, whose order would be that of
the runtime.
"""
