"""Answer HTTP requests with a saved model: ``gpuseg serve``.

A request goes through one file each: `bounded_http` (bytes of the connection), `app` (routes),
`protocols` (bytes in, rows out; scores in, bytes out) and `scoring` (rows in, scores out). `reload`
takes a new output, `supervisor` keeps the worker processes alive.
"""
