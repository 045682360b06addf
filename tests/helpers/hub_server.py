# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""A Hub on this machine: the endpoints that huggingface_hub uses to create, upload, list and download models.

It keeps everything in memory, speaks LFS with "basic" transfers, asks for a token where something is written or
private, and can break off or falsify downloads.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_local_token"
# As on the Hub: binary weights go through LFS, text is part of the commit.
LFS_SUFFIXES = (".safetensors", ".png", ".pth", ".pt", ".bin")


@dataclass
class Blob:
    content: bytes | memoryview
    lfs: bool

    @cached_property
    def oid(self) -> str:
        if self.lfs:
            return hashlib.sha256(self.content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()


@dataclass
class Repo:
    private: bool
    gated: bool = False
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, ref: str, files: dict[str, Blob], message: str) -> str:
        self.messages.append(message)
        listing = "".join(f"{name} {blob.oid}\n" for name, blob in sorted(files.items()))
        oid = hashlib.sha1(f"{len(self.messages)} {message}\n{listing}".encode()).hexdigest()
        self.commits[oid] = files
        self.refs[ref] = oid
        return oid


class LocalHub:
    """
    A server on a free port; use it as a context manager.

    `breaks` makes that many downloads of LFS objects stop after `break_after` bytes. From repositories in `falsified`,
    LFS objects arrive with their last byte changed.
    """

    def __init__(self):
        self.repos: dict[str, Repo] = {}
        self.datasets: set[str] = set()
        self.objects: dict[str, bytes] = {}
        self.falsified: set[str] = set()
        self.break_after, self.breaks = 0, 0
        self.log: list[str] = []
        self.unknown: list[str] = []
        self.ranges: list[str] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        # Under another name, since huggingface_hub reads the metadata of a file from the last answer of the Hub itself.
        self.cdn_url = f"http://localhost:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def publish(self, repo_id: str, files: dict[str, bytes | memoryview], **options) -> Repo:
        """Makes a repository with these files, or commits them to one that is there, in place of what it held."""
        repo = self.repos.setdefault(repo_id, Repo(private=False, **options))
        blobs = {name: Blob(content, lfs=name.endswith(LFS_SUFFIXES)) for name, content in files.items()}
        self.objects.update({blob.oid: blob.content for blob in blobs.values() if blob.lfs})
        repo.commit("main", blobs, "Upload files")
        return repo

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        repo = self.repos[repo_id]
        return {name: blob.content for name, blob in repo.commits[repo.refs[revision]].items()}


class _Refusal(Exception):
    def __init__(self, status: int, code: str, message: str):
        self.status, self.code, self.message = status, code, message


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    # Method, pattern of the path, name of the method of this class that answers.
    ROUTES = [
        ("POST", r"/api/repos/create", "create"),
        ("POST", r"/api/validate-yaml", "validate_yaml"),
        ("POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/branch/(?P<revision>[^/]+)", "branch"),
        ("POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/preupload/(?P<revision>[^/]+)", "preupload"),
        ("POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/commit/(?P<revision>[^/]+)", "commit"),
        ("GET", r"/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)(/(?P<path>.+))?", "tree"),
        ("GET", r"/api/models/(?P<repo>[^/]+/[^/]+)(/revision/(?P<revision>[^/]+))?", "info"),
        ("GET", r"/api/agent-harnesses", "harnesses"),
        ("GET", r"/api/datasets/(?P<repo>[^/]+/[^/]+)", "dataset"),
        ("POST", r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch", "lfs_batch"),
        ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", "lfs_put"),
        ("POST", r"/lfs/verify", "lfs_verify"),
        ("HEAD GET", r"/cdn/(?P<oid>[0-9a-f]{64})", "cdn"),
        ("HEAD GET", r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
    ]

    def log_message(self, *_):
        pass

    def handle_any(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.body = (
            self.rfile.read(length) if "chunked" not in self.headers.get("Transfer-Encoding", "") else self.chunks()
        )
        url = urlsplit(self.path)
        self.query = parse_qs(url.query)
        self.hub.log.append(f"{self.command} {url.path}")
        for methods, pattern, name in self.ROUTES:
            match = re.fullmatch(pattern, url.path)
            if match and self.command in methods.split():
                try:
                    return getattr(self, name)(
                        **{key: unquote(value or "") for key, value in match.groupdict().items()}
                    )
                except _Refusal as refusal:
                    headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
                    return self.send(refusal.status, {"error": refusal.message}, headers)
        self.hub.unknown.append(f"{self.command} {self.path}")
        return self.send(404, {"error": "no such endpoint"})

    do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815

    def chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def send(self, status: int, content, headers: dict[str, str] | None = None):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    # ---- who may do what ----------------------------------------------------------------------------------------

    def signed_in(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def find(self, repo: str, *, write: bool = False) -> Repo:
        if write and not self.signed_in():
            raise _Refusal(401, "", "Invalid username or password.")
        found = self.hub.repos.get(repo)
        if found is None or (found.private and not self.signed_in()):
            raise _Refusal(401 if not self.signed_in() else 404, "RepoNotFound", "Repository not found")
        return found

    @staticmethod
    def oid(repo: Repo, revision: str) -> str:
        oid = repo.refs.get(revision or "main", revision)
        if oid not in repo.commits:
            raise _Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return oid

    # ---- repositories -------------------------------------------------------------------------------------------

    def create(self):
        request = json.loads(self.body)
        name = f"{request['organization']}/{request['name']}"
        if not self.signed_in():
            raise _Refusal(401, "", "Invalid username or password.")
        if name in self.hub.repos:
            return self.send(409, {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"})
        self.hub.repos[name] = repo = Repo(private=request.get("visibility") == "private")
        repo.commit("main", {".gitattributes": Blob(b"*.safetensors filter=lfs\n", lfs=False)}, "initial commit")
        return self.send(200, {"url": f"{self.hub.url}/{name}", "name": name, "id": name})

    def branch(self, repo: str, revision: str):
        found = self.find(repo, write=True)
        if revision in found.refs:
            return self.send(409, {"error": f"Reference already exists: {revision}"})
        found.refs[revision] = found.refs["main"]
        return self.send(200, {})

    def info(self, repo: str, revision: str = ""):
        found = self.find(repo)
        oid = self.oid(found, revision)
        siblings = []
        for name, blob in found.commits[oid].items():
            facts = {"size": len(blob.content), "blobId": "0" * 40 if blob.lfs else blob.oid}
            if blob.lfs:
                facts["lfs"] = {"sha256": blob.oid, "size": len(blob.content), "pointerSize": 130}
            siblings.append({"rfilename": name, **(facts if self.query.get("blobs") else {})})
        facts = {"private": found.private, "gated": "manual" if found.gated else False, "tags": []}
        return self.send(200, {"id": repo, "sha": oid, **facts, "siblings": siblings})

    def harnesses(self):
        return self.send(200, {})

    def dataset(self, repo: str):
        if repo not in self.hub.datasets:
            raise _Refusal(401, "RepoNotFound", "Repository not found")
        return self.send(200, {"id": repo, "sha": "0" * 40, "private": False, "tags": [], "siblings": []})

    def tree(self, repo: str, revision: str, path: str = ""):
        found = self.find(repo)
        files = found.commits[self.oid(found, revision)]
        if path and not any(name.startswith(f"{path}/") for name in files):
            raise _Refusal(404, "EntryNotFound", f"{path} does not exist")
        entries = []
        for name, blob in files.items():
            entry = {"type": "file", "path": name, "size": len(blob.content), "oid": blob.oid}
            if blob.lfs:
                entry.update(oid="0" * 40, lfs={"oid": blob.oid, "size": len(blob.content), "pointerSize": 130})
            entries.append(entry)
        return self.send(200, entries)

    # ---- upload -------------------------------------------------------------------------------------------------

    def validate_yaml(self):
        return self.send(200, {"errors": [], "warnings": []})

    def preupload(self, repo: str, revision: str):
        found = self.find(repo, write=True)
        present = found.commits[self.oid(found, revision)]
        files = [
            {
                "path": entry["path"],
                "oid": present[entry["path"]].oid if entry["path"] in present else None,
                "uploadMode": "lfs" if entry["path"].endswith(LFS_SUFFIXES) else "regular",
                "shouldIgnore": False,
            }
            for entry in json.loads(self.body)["files"]
        ]
        return self.send(200, {"files": files})

    def lfs_batch(self, repo: str):
        self.find(repo, write=True)
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            entry = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.hub.objects:
                upload = {"href": f"{self.hub.url}/lfs/{wanted['oid']}"}
                entry["actions"] = {"upload": upload, "verify": {"href": f"{self.hub.url}/lfs/verify"}}
            objects.append(entry)
        return self.send(200, {"transfer": "basic", "objects": objects})

    def lfs_put(self, oid: str):
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise _Refusal(400, "", "the content does not have this SHA-256")
        self.hub.objects[oid] = self.body
        return self.send(200, b"")

    def lfs_verify(self):
        wanted = json.loads(self.body)
        if len(self.hub.objects.get(wanted["oid"], b"")) != wanted["size"]:
            raise _Refusal(404, "", "no such object")
        return self.send(200, {})

    def commit(self, repo: str, revision: str):
        found = self.find(repo, write=True)
        files = dict(found.commits[self.oid(found, revision)])
        message = ""
        for line in self.body.splitlines():
            key, value = (item := json.loads(line))["key"], item["value"]
            if key == "header":
                message = value["summary"]
            elif key == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]), lfs=False)
            elif key == "lfsFile":
                files[value["path"]] = Blob(self.hub.objects[value["oid"]], lfs=True)
            elif key == "deletedFile":
                del files[value["path"]]
        answer = {}
        if self.query.get("create_pr"):
            number = 1 + sum(ref.startswith("refs/pr/") for ref in found.refs)
            revision, answer["pullRequestUrl"] = f"refs/pr/{number}", f"{self.hub.url}/{repo}/discussions/{number}"
        oid = found.commit(revision, files, message)
        return self.send(200, {**answer, "commitOid": oid, "commitUrl": f"{self.hub.url}/{repo}/commit/{oid}"})

    # ---- download -----------------------------------------------------------------------------------------------

    def resolve(self, repo: str, revision: str, path: str):
        found = self.find(repo)
        if found.gated and not self.signed_in():
            raise _Refusal(403, "GatedRepo", f"Access to model {repo} is restricted")
        oid = self.oid(found, revision)
        blob = found.commits[oid].get(path)
        if blob is None:
            refusal = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found", "X-Repo-Commit": oid}
            return self.send(404, {"error": "Entry not found"}, refusal)
        headers = {"X-Repo-Commit": oid, "ETag": f'"{blob.oid}"'}
        if blob.lfs:
            linked = {"X-Linked-Etag": f'"{blob.oid}"', "X-Linked-Size": str(len(blob.content))}
            return self.send(
                302, b"", {**headers, **linked, "Location": f"{self.hub.cdn_url}/cdn/{blob.oid}?from={repo}"}
            )
        return self.send(200, blob.content, headers)

    def cdn(self, oid: str):
        content = self.hub.objects[oid]
        if self.query["from"][0] in self.hub.falsified:
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = 0
        if wanted := self.headers.get("Range"):
            self.hub.ranges.append(wanted)
            start = int(re.match(r"bytes=(\d+)-", wanted)[1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{oid}"')
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        rest = content[start:]
        if self.hub.breaks > 0:
            self.hub.breaks -= 1
            self.wfile.write(rest[: self.hub.break_after])
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True
        else:
            self.wfile.write(rest)
