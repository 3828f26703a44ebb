"""The forms of requests and answers: pure functions from bytes to rows, and from scores to bytes.

* `segments`: gpuseg's own, ``/segments``
* `open_inference`: the Open Inference Protocol, version 2, ``/v2/…``
* `sagemaker`: that of SageMaker's containers, ``/invocations``
* `arrow_stream`: Arrow IPC streams, for the first two
"""
