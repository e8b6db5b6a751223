"""A W&B server of one file, on the loopback, for tests with the real client.

It understands what a run needs to start, log, resume and finish, and what `wandb.Api` needs to read it back;
every other request is answered with an error, which the client takes as "this server cannot do that".
"""

import gzip
import io
import json
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow
from pyarrow import parquet

API_KEY = "k" * 40


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@dataclass
class Run:
    """What the server knows of one run."""

    name: str
    project: str
    display_name: str = ""
    group: str = ""
    job_type: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None
    starts: int = 0
    heard: int = 0

    def node(self) -> dict[str, Any]:
        """The run as `wandb.Api` gets it."""
        state = "running" if self.exit_code is None else "failed" if self.exit_code else "finished"
        return {
            **self.bucket(),
            "projectId": "1",
            "state": state,
            "group": self.group,
            "jobType": self.job_type,
            "commit": None,
            "readOnly": False,
            "createdAt": "2026-01-01T00:00:00Z",
            "heartbeatAt": f"2026-01-01T00:00:{self.heard:02}Z",
            "systemMetrics": "{}",
            "user": {"name": "tester", "username": "tester"},
            "historyKeys": {"lastStep": self.last_step},
        }

    @property
    def last_step(self) -> int:
        """W&B's own number of the last row."""
        return max((row["_step"] for row in self.history), default=-1)

    def bucket(self) -> dict[str, Any]:
        """The run as GraphQL gives it."""
        tail = json.dumps([json.dumps(row) for row in self.history[-1:]])
        return {
            "id": f"id-{self.name}",
            "name": self.name,
            "displayName": self.display_name,
            "description": None,
            "sweepName": None,
            "tags": [],
            "notes": None,
            "config": json.dumps({key: {"value": value} for key, value in self.config.items()}),
            "summaryMetrics": json.dumps(self.summary),
            "historyLineCount": len(self.history),
            "logLineCount": 0,
            "eventsLineCount": 0,
            "historyTail": tail,
            "eventsTail": "[]",
            # Without a telemetry key the client takes the run for one that never started.
            "wandbConfig": json.dumps({"t": {"1": [1]}}),
            "project": {"id": "p", "name": self.project, "entity": {"id": "e", "name": "tester"}},
        }


class WandbServer:
    """Context manager: serves on 127.0.0.1, keeps the runs by id in `runs`, uploads as
    `files["<id>/<path>"]` and workspaces as `views`.

    `failure` may be changed at any time: None serves, a number answers everything with this HTTP status,
    "hang" accepts connections and never answers until the server closes. `deleted` are ids of runs that were deleted
    there, which it refuses for ever. `exports` says whether the history of a
    run is given as a parquet file, as W&B does some time after its end, or row by row.
    """

    def __init__(self, failure: int | str | None = None) -> None:
        self.runs: dict[str, Run] = {}
        self.files: dict[str, bytes] = {}
        self.views: list[dict[str, Any]] = []
        self.failure = failure
        self.deleted: set[str] = set()
        self.exports = False
        self.operations: list[str] = []
        self.unknown: list[str] = []
        self._closing = threading.Event()
        self._http = _QuietServer(("127.0.0.1", 0), _handler_of(self))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> "WandbServer":
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()

    def wait_for_close(self) -> None:
        """Blocks a request that is never to be answered."""
        self._closing.wait()

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Answers one GraphQL request."""
        operation = query.split("(")[0].split("{")[0].split()[-1]
        self.operations.append(operation)
        answer = getattr(self, f"_{operation}", None)
        if answer is None:
            self.unknown.append(operation)
            return {"errors": [{"message": f"unknown operation {operation}"}]}
        return {"data": answer({**variables, "query": query})}

    def _ServerFeaturesQuery(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def _Viewer(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": {"id": "u", "entity": "tester", "username": "tester", "flags": "{}"}}

    def _RunResumeStatus(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(variables["name"])
        model = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": "tester"}}
        return {"model": {**model, "bucket": run.bucket() if run else None}}

    def _UpsertBucket(self, variables: dict[str, Any]) -> dict[str, Any]:
        inserted = variables["name"] not in self.runs
        run = self.runs.setdefault(variables["name"], Run(variables["name"], variables["project"]))
        run.starts += bool(variables.get("host"))
        run.display_name = variables.get("displayName") or run.display_name
        run.group = variables.get("groupName") or run.group
        run.job_type = variables.get("jobType") or run.job_type
        if variables.get("config"):
            run.config = {key: item["value"] for key, item in json.loads(variables["config"]).items()}
        if variables.get("summaryMetrics"):
            run.summary = json.loads(variables["summaryMetrics"])
        return {"upsertBucket": {"bucket": run.bucket(), "inserted": inserted}}

    def _CreateRunFiles(self, variables: dict[str, Any]) -> dict[str, Any]:
        place = f"{self.url}/upload/{variables['run']}"
        files = [{"name": name, "uploadUrl": f"{place}/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}

    def _Runs(self, variables: dict[str, Any]) -> dict[str, Any]:
        group = json.loads(variables["filters"]).get("group")
        runs = [r for r in self.runs.values() if r.project == variables["project"] and group in (None, r.group)]
        if variables["project"] not in {run.project for run in self.runs.values()}:
            return {"project": None}
        start = int(variables.get("cursor") or 0)
        page = runs[start : start + variables["perPage"]]
        heavy = () if "...RunFragment" in variables["query"] else ("config", "summaryMetrics", "systemMetrics")
        nodes = [{key: value for key, value in run.node().items() if key not in heavy} for run in page]
        edges = [{"node": node, "cursor": str(start + i + 1)} for i, node in enumerate(nodes)]
        more = {"endCursor": str(start + len(page)), "hasNextPage": start + len(page) < len(runs)}
        return {
            "project": {
                "internalId": "1",
                "runCount": len(runs),
                "readOnly": False,
                "runs": {"edges": edges, "pageInfo": more},
            }
        }

    def _RunHistoryKeys(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"run": {"historyKeys": self.runs[variables["name"]].node()["historyKeys"]}}}

    def _RunParquetHistory(self, variables: dict[str, Any]) -> dict[str, Any]:
        urls = [f"{self.url}/history/{variables['runName']}.parquet"] if self.exports else []
        return {"project": {"run": {"parquetHistory": {"parquetUrls": urls, "liveData": []}}}}

    def _UpsertView2(self, variables: dict[str, Any]) -> dict[str, Any]:
        self.views.append(variables)
        return {"upsertView": {"view": {"id": f"view-{len(self.views)}", "name": variables["name"]}, "inserted": True}}

    def exported(self, name: str) -> bytes:
        """A run's numbers as a parquet file."""
        rows = self.runs[name].history
        keys = dict.fromkeys(key for row in rows for key in row)
        table = pyarrow.table({key: pyarrow.array([row.get(key) for row in rows]) for key in keys})
        file = io.BytesIO()
        parquet.write_table(table, file)
        return file.getvalue()

    def _HistoryPage(self, variables: dict[str, Any]) -> dict[str, Any]:
        rows = [
            row
            for row in self.runs[variables["run"]].history
            if variables["minStep"] <= row["_step"] < variables["maxStep"]
        ]
        return {"project": {"run": {"history": [json.dumps(row) for row in rows]}}}

    def file_stream(self, name: str, body: dict[str, Any]) -> None:
        """Takes one batch of history rows, summary and exit code."""
        run = self.runs[name]
        run.heard += 1
        files = body.get("files") or {}
        if part := files.get("wandb-history.jsonl"):
            run.history[part["offset"] :] = [json.loads(line) for line in part["content"]]
        if part := files.get("wandb-summary.json"):
            run.summary = json.loads(part["content"][-1])
        if body.get("complete"):
            run.exit_code = body.get("exitcode")


def _handler_of(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None: ...

        def _body(self) -> bytes:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw

        def _answer(self, status: int, content: object) -> None:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/octet-stream" if data is content else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _serve(self) -> None:
            body = self._body()
            if server.failure == "hang":
                self.close_connection = True
                return server.wait_for_close()
            if isinstance(server.failure, int):
                return self._answer(server.failure, {"error": "out of order"})
            if self.path == "/graphql":
                request = json.loads(body)
                if (
                    name := (request.get("variables") or {}).get("name")
                ) in server.deleted and "upsertBucket" in body.decode():
                    text = f"run {name} was previously created and deleted; try a new run name"
                    return self._answer(409, {"errors": [{"message": text}]})
                return self._answer(200, server.graphql(request["query"], request.get("variables") or {}))
            if self.path.startswith("/history/"):
                return self._answer(200, server.exported(Path(self.path).stem))
            if self.path.startswith("/upload/"):
                server.files[unquote(self.path.removeprefix("/upload/"))] = body
            if self.path.endswith("/file_stream"):
                server.file_stream(self.path.split("/")[-2], json.loads(body))
            self._answer(200, {"limits": {}})

        do_GET = do_POST = do_PUT = _serve

    return Handler
