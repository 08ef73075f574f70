"""Load for bench/service.py by wrk, and processes of the service to put it on."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOST = Path(__file__).with_name("_service_host.py")
DONE = """
function done(summary, latency, requests)
   local bad = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
   io.write(string.format('{"requests": %d, "seconds": %.6f, "bad": %d, "p50": %.3f, "p99": %.3f, "most": %.3f}\\n', summary.requests,
      summary.duration / 1e6, bad, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
"""
HEAD = """
wrk.headers["Authorization"] = "Bearer %(key)s"
wrk.headers["Content-Type"] = "application/json"
local number, salt = 0, "%(salt)s"
math.randomseed(%(seed)d)
local function customer() return string.format("c%%06d", math.random(0, %(customers)d - 1)) end
local function item() return string.format("i%%06d", math.random(0, %(items)d - 1)) end
local function event()
   number = number + 1
   return '{"id":"' .. salt .. number .. '","at":"2026-03-01T09:00:00Z","customer":"' .. customer() .. '","session":"s' .. number
      .. '","kind":"view","item":"' .. item() .. '"}'
end
"""
SCRIPTS = {
    "echo": "request = function() return wrk.format('POST', '/echo', nil, event()) end",
    "recommend": "request = function() return wrk.format('GET', '/v1/recommend?k=20&customer=' .. customer()) end",
    "decide": """request = function()
   number = number + 1
   return wrk.format('POST', '/v1/decide', nil, '{"customer":"' .. customer() .. '","visit":"' .. salt .. number .. '"}')
end""",
    "single": "request = function() return wrk.format('POST', '/v1/events', nil, event()) end",
    "batch": """request = function()
   local all = {}
   for i = 1, %(batch)d do all[i] = event() end
   return wrk.format('POST', '/v1/events', nil, '[' .. table.concat(all, ',') .. ']')
end""",
}


@dataclass
class Service:
    """One process of the service (or of the echo)."""

    process: subprocess.Popen[bytes]
    port: int
    key: str

    @classmethod
    def start(cls, shop: Path | None, *, ready: float = 120.0) -> Service:
        """Start it and wait until it answers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, str(HOST), "--port", str(port)]
        with tempfile.TemporaryDirectory() as folder:
            key = Path(folder) / "key"
            if shop is not None:
                command += ["--shop", str(shop), "--key", str(key)]
            found = cls(subprocess.Popen(command), port, "")
            until = time.monotonic() + ready
            while not found.answers("/v1/ready" if shop else "/openapi.json"):
                if found.process.poll() is not None or time.monotonic() > until:
                    raise SystemExit("the service did not start; its own words stand above")
                time.sleep(0.1)
            found.key = key.read_text() if shop is not None else ""
        return found

    def answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as found:
                return bool(found.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def ask(self, method: str, path: str, body: Any = None, *, timeout: float = 600.0) -> tuple[int, Any]:
        """One request, outside the clock."""
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        asked.add_header("Authorization", f"Bearer {self.key}")
        asked.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(asked, None if body is None else json.dumps(body).encode(), timeout=timeout) as found:
                return found.status, json.loads(found.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def memory(self) -> float:
        """Resident memory, MiB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def cpu(self) -> float:
        """CPU seconds so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)


def wrk_there() -> bool:
    return shutil.which("wrk") is not None


def load(service: Service, what: str, *, seconds: float, connections: int, world: dict[str, Any]) -> dict[str, float]:
    """Run wrk with one thread; requests, seconds, bad answers, latency in milliseconds, and the service's CPU per request."""
    told = {"key": service.key, "salt": f"{what}{time.time_ns()}-", "seed": 7, "batch": 100, **world}
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(HEAD % told + SCRIPTS[what] % told + DONE)
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s", "-s", script.name]
        used = service.cpu()
        done = subprocess.run([*command, f"http://127.0.0.1:{service.port}"], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    found["cpu_ms"] = (service.cpu() - used) / max(1, found["requests"]) * 1e3
    found["rate"] = found["requests"] / found["seconds"]
    return found
