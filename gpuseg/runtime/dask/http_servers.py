"""Close the HTTP servers of Dask: it starts one in each process, on a port that anybody may use."""

from typing import Any

from distributed import Client, Scheduler, Worker, WorkerPlugin


class CloseHttpServer(WorkerPlugin):
    """Closes the HTTP server of each worker, also of those that start later."""

    name = "gpuseg-close-http-server"

    def setup(self, worker: Worker) -> None:
        """Stop listening."""
        worker.http_server.stop()


def close_http_servers(client: Client, scheduler: Scheduler) -> None:
    """Close those of a scheduler in this process and of its workers."""
    loop: Any = scheduler.loop
    loop.add_callback(scheduler.http_server.stop)
    client.register_plugin(CloseHttpServer())
