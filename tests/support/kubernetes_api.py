"""A server with the API of Kubernetes as far as kubectl asks for it: it runs nothing.

Objects are checked against the schemas of Kubernetes, as a cluster does.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import kubernetes_validate

VERSION = "1.34"

_KINDS = {
    "/api/v1": {"services": "Service", "configmaps": "ConfigMap", "secrets": "Secret",
                "pods": "Pod", "pods/log": "Pod"},
    "/apis/batch/v1": {"jobs": "Job"},
}  # fmt: skip
_VERBS = ["create", "get", "list", "delete"]


class KubernetesApi(ThreadingHTTPServer):
    """The server; `objects` are by plural name, namespace and name."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.logs: dict[str, str] = {}
        self.refused_kind = ""

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Return the objects of a kind, such as "jobs"."""
        return [each for (plural, _, _), each in self.objects.items() if plural == kind]

    def write_config(self, folder: Path) -> Path:
        """Return a file that tells kubectl where the server is, and to use the namespace "shop"."""
        address = f"http://127.0.0.1:{self.server_address[1]}"
        cluster = {"name": "test", "cluster": {"server": address}}
        context = {"name": "test", "context": {"cluster": "test", "user": "", "namespace": "shop"}}
        config = {
            "apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context],
            "current-context": "test", "users": [],
        }  # fmt: skip
        path = folder / "kubeconfig"
        path.write_text(json.dumps(config))
        return path


@contextmanager
def kubernetes_api() -> Iterator[KubernetesApi]:
    """Serve the API on a port of this machine."""
    with KubernetesApi() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: KubernetesApi
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if (answer := _discovery(url.path)) is not None:
            self._answer(200, answer)
            return
        if "/namespaces/" not in url.path:
            self._fail(404, "the server could not find the requested resource")
            return
        namespace, plural, *rest = url.path.split("/namespaces/")[1].split("/")
        if rest[1:] == ["log"]:
            self._answer(200, self.server.logs[rest[0]])
        elif rest:
            self._answer(200, self.server.objects[plural, namespace, rest[0]])
        else:
            selector = parse_qs(url.query).get("labelSelector", [""])[0]
            items = [
                each for (kind, place, _), each in self.server.objects.items()
                if (kind, place) == (plural, namespace) and _fits(each, selector)
            ]  # fmt: skip
            kind = f"{_kind_of(plural)}List"
            version = items[0]["apiVersion"] if items else "v1"
            self._answer(200, {"kind": kind, "apiVersion": version, "metadata": {}, "items": items})

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        namespace, plural = url.path.split("/namespaces/")[1].split("/")
        object_ = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            kubernetes_validate.validate(object_, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            self._fail(422, str(error.message))
            return
        is_tried = "dryRun=All" in url.query
        if plural == self.server.refused_kind and not is_tried:
            self._fail(403, f"{plural} is forbidden: exceeded quota")
            return
        object_["metadata"] |= {"namespace": namespace, "uid": str(uuid4())}
        if not is_tried:
            self.server.objects[plural, namespace, object_["metadata"]["name"]] = object_
        self._answer(201, object_)

    def do_DELETE(self) -> None:
        if length := int(self.headers.get("Content-Length", 0)):
            self.rfile.read(length)
        namespace, plural, name = urlsplit(self.path).path.split("/namespaces/")[1].split("/")
        owner = self.server.objects.pop((plural, namespace, name))["metadata"]["uid"]
        for key, each in [*self.server.objects.items()]:
            owners = each["metadata"].get("ownerReferences", [])
            if any(reference["uid"] == owner for reference in owners):
                del self.server.objects[key]
        self._answer(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})

    def _fail(self, code: int, message: str) -> None:
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
        self._answer(code, {**status, "message": message})

    def _answer(self, code: int, content: Any) -> None:
        is_text = isinstance(content, str)
        body = (content if is_text else json.dumps(content)).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if is_text else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Print nothing."""


def _discovery(path: str) -> Any:
    """Return what the server has; None for the path of objects."""
    if path in _KINDS:
        resources = [
            {"name": name, "singularName": kind.lower(), "kind": kind, "namespaced": True,
             "verbs": _VERBS}
            for name, kind in _KINDS[path].items()
        ]  # fmt: skip
        version = path.removeprefix("/api/").removeprefix("/apis/")
        return {"kind": "APIResourceList", "groupVersion": version, "resources": resources}
    batch = {"groupVersion": "batch/v1", "version": "v1"}
    group = {"name": "batch", "versions": [batch], "preferredVersion": batch}
    known: dict[str, Any] = {
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]},
        "/version": {"major": "1", "minor": VERSION[2:], "gitVersion": f"v{VERSION}.0"},
        "/openapi/v3": {"paths": {each[1:]: {"serverRelativeURL": f"/schema{each}"}
                                  for each in _KINDS}},
        **{f"/schema{each}": _schema(each) for each in _KINDS},
    }  # fmt: skip
    return known.get(path)


def _schema(path: str) -> Any:
    """Return what kubectl reads of a schema: that the server checks fields, and has dry runs."""
    group, version = path.removeprefix("/apis/").replace("/api/", "/").split("/")
    parameters = [{"name": name, "in": "query"} for name in ("fieldValidation", "dryRun")]
    paths = {}
    for kind in _KINDS[path].values():
        key = {"group": group, "version": version, "kind": kind}
        operation = {"x-kubernetes-group-version-kind": key, "parameters": parameters}
        paths[f"/{kind}"] = {"patch": operation}
    return {"openapi": "3.0.0", "info": {"title": "", "version": ""}, "paths": paths}


def _kind_of(plural: str) -> str:
    return next(kinds[plural] for kinds in _KINDS.values() if plural in kinds)


def _fits(object_: dict[str, Any], selector: str) -> bool:
    labels = object_["metadata"].get("labels", {})
    wanted = dict(part.split("=") for part in selector.split(",") if part)
    return all(labels.get(key) == value for key, value in wanted.items())
