"""A Hub on 127.0.0.1 in memory: the endpoints of the Hugging Face Hub's API that huggingface_hub calls for a model.

Creating a repository and a branch, checking a card's metadata, telling which files are large, the Git LFS batch
protocol, commits as lines of JSON, information about a revision, and files with the headers that caches go by.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

__all__ = ["TOKEN", "Hub"]

TOKEN = "hf_of_someone"
LARGE = (".safetensors", ".bin")
_REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
_REST = r"(?P<revision>[^/]+)"


@dataclass
class Repository:
    """Commits are {path: content}, newest last; a branch is the identifier of its newest commit."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def add(self, branch: str, files: dict[str, bytes]) -> str:
        before = self.commits.get(self.branches.get(branch, ""), {})
        oid = hashlib.sha1(f"{branch} {len(self.commits)}".encode()).hexdigest()
        self.commits[oid] = {**before, **files}
        self.branches[branch] = oid
        return oid


class Hub:
    """The server. ``requests`` are the methods and paths that were asked for, in their order."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def create(self, name: str, private: bool = False, **files: bytes) -> Repository:
        """A repository with ``files`` (config_json for config.json) in its main branch."""
        repository = self.repositories[name] = Repository(private)
        first = {".gitattributes": b"*.safetensors filter=lfs\n"}
        repository.add("main", first | {key.replace("_", "."): content for key, content in files.items()})
        return repository


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Silent."""

    def do_POST(self) -> None:
        self._route("POST")

    def do_PUT(self) -> None:
        self._route("PUT")

    def do_GET(self) -> None:
        self._route("GET")

    def do_HEAD(self) -> None:
        self._route("HEAD")

    def _route(self, method: str) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{method} {path}")
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        for pattern, methods, answer in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and method in methods:
                names = {key: unquote(value) for key, value in match.groupdict().items()}
                getattr(self, answer)(**names)
                return
        self._error(404, "no such endpoint")

    # --- answers

    def _send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), Content_Type="application/json")

    def _error(self, status: int, message: str, code: str = "") -> None:
        headers = {"X_Error_Message": message, **({"X_Error_Code": code} if code else {})}
        self._send(status, json.dumps({"error": message}).encode(), Content_Type="application/json", **headers)

    @property
    def _known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _find(self, repo: str, write: bool = False) -> Repository | None:
        """The repository, or None after an answer that says why not: as the Hub, 401 for what may not be seen."""
        repository = self.hub.repositories.get(repo)
        if repository is None or (repository.private and not self._known):
            self._error(404 if self._known else 401, "Repository not found", "RepoNotFound")
            return None
        if write and not self._known:
            self._error(401, "Invalid username or password.")
            return None
        return repository

    def _files(self, repository: Repository, revision: str) -> tuple[str, dict[str, bytes]] | None:
        oid = repository.branches.get(revision, revision)
        if oid not in repository.commits:
            self._error(404, f"Invalid rev id: {revision}", "RevisionNotFound")
            return None
        return oid, repository.commits[oid]

    # --- endpoints

    def create_repo(self) -> None:
        asked = json.loads(self.body)
        if not self._known:
            return self._error(401, "Invalid username or password.")
        name = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] != "someone":
            return self._error(403, f"You don't have the rights to create a model under the namespace {name}")
        there = name in self.hub.repositories
        if not there:
            self.hub.create(name, asked.get("visibility") == "private" or asked.get("private") is True)
        self._json({"url": f"{self.hub.url}/{name}", "error": "exists"}, 409 if there else 200)
        return None

    def create_branch(self, repo: str, revision: str) -> None:
        if (repository := self._find(repo, write=True)) is not None:
            there = revision in repository.branches
            repository.branches.setdefault(revision, repository.branches["main"])
            self._json({}, 409 if there else 200)

    def validate_yaml(self) -> None:
        """The rules of the Hub's model-index: a task with type, a dataset with type and name, metrics with values."""
        metadata = yaml.safe_load(json.loads(self.body)["content"].split("---")[1])
        errors = []
        for result in (metadata.get("model-index") or [{}])[0].get("results", []):
            if not (result["task"].get("type") and result["dataset"].get("type") and result["dataset"].get("name")):
                errors.append({"message": "a result needs a task and a dataset"})
            errors += [{"message": "a metric needs a value"} for metric in result["metrics"] if "value" not in metric]
        self._json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def preupload(self, repo: str, revision: str) -> None:
        if self._find(repo, write=True) is not None:
            files = [
                {
                    "path": item["path"],
                    "uploadMode": "lfs" if item["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                }
                for item in json.loads(self.body)["files"]
            ]
            self._json({"files": files})

    def lfs_batch(self, repo: str) -> None:
        if self._find(repo, write=True) is not None:
            found = []
            for item in json.loads(self.body)["objects"]:
                href = {"href": f"{self.hub.url}/upload/{item['oid']}"}
                actions = {} if item["oid"] in self.hub.objects else {"actions": {"upload": href}}
                found.append({"oid": item["oid"], "size": item["size"], **actions})
            self._json({"transfer": "basic", "objects": found})

    def upload(self, oid: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.hub.objects[oid] = self.body
        self._send(200)

    def commit(self, repo: str, revision: str) -> None:
        if (repository := self._find(repo, write=True)) is None:
            return
        files = {}
        for line in self.body.splitlines():
            item = json.loads(line)
            if item["key"] == "file":
                files[item["value"]["path"]] = base64.b64decode(item["value"]["content"])
            elif item["key"] == "lfsFile":
                files[item["value"]["path"]] = self.hub.objects[item["value"]["oid"]]
        oid = repository.add(revision, files)
        self._json({"commitUrl": f"{self.hub.url}/{repo}/commit/{oid}", "commitOid": oid})

    def model_info(self, repo: str, revision: str = "main") -> None:
        if (repository := self._find(repo)) is None or (found := self._files(repository, revision)) is None:
            return
        siblings = [{"rfilename": name} for name in found[1]]
        self._json({"id": repo, "sha": found[0], "private": repository.private, "siblings": siblings, "tags": []})

    def resolve(self, repo: str, revision: str, path: str) -> None:
        if (repository := self._find(repo)) is None or (found := self._files(repository, revision)) is None:
            return
        oid, files = found
        if path not in files:
            self._error(404, "Entry not found", "EntryNotFound")
            return
        body = files[path]
        headers = {"X_Repo_Commit": oid, "ETag": f'"{hashlib.sha1(body).hexdigest()}"', "Accept_Ranges": "bytes"}
        if path.endswith(LARGE):
            digest = hashlib.sha256(body).hexdigest()
            self.hub.objects[digest] = body
            elsewhere = self.hub.url.replace("127.0.0.1", "localhost")  # the Hub's storage is another host
            large = {"X_Linked_Etag": f'"{digest}"', "X_Linked_Size": str(len(body))}
            self._send(302, b"", Location=f"{elsewhere}/cdn/{digest}", **large, **headers)
        else:
            self._send(200, body, **headers)

    def cdn(self, oid: str) -> None:
        self._send(200, self.hub.objects[oid], Accept_Ranges="bytes")


ROUTES = [
    (r"/api/repos/create", ("POST",), "create_repo"),
    (r"/api/validate-yaml", ("POST",), "validate_yaml"),
    (rf"/api/models/{_REPO}/branch/{_REST}", ("POST",), "create_branch"),
    (rf"/api/models/{_REPO}/preupload/{_REST}", ("POST",), "preupload"),
    (rf"/api/models/{_REPO}/commit/{_REST}", ("POST",), "commit"),
    (rf"/api/models/{_REPO}/revision/{_REST}", ("GET",), "model_info"),
    (rf"/api/models/{_REPO}", ("GET",), "model_info"),
    (rf"/{_REPO}\.git/info/lfs/objects/batch", ("POST",), "lfs_batch"),
    (r"/upload/(?P<oid>\w+)", ("PUT",), "upload"),
    (r"/cdn/(?P<oid>\w+)", ("GET",), "cdn"),
    (rf"/{_REPO}/resolve/{_REST}/(?P<path>.+)", ("GET", "HEAD"), "resolve"),
]
