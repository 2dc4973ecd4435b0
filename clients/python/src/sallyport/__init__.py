"""Credentials of Sallyport for Python tools: short-lived tokens, and a sidecar that keeps them out of the process.

The ``sallyport`` command does the work: it must be on the PATH, or named by SALLYPORT_COMMAND, and be signed in.
"""

from __future__ import annotations

import atexit
import datetime
import json
import os
import subprocess
import threading

__all__ = ["Error", "Sidecar", "Token", "anthropic_credentials"]

_EARLY = 30  # seconds before its end at which a token counts as ended
_TIMEOUT = 60  # seconds that the command may take


class Error(RuntimeError):
    """The command refused, or is not there. The message says what to do next."""


def _command() -> str:
    return os.environ.get("SALLYPORT_COMMAND") or "sallyport"


def _run(*arguments: str) -> dict:
    try:
        done = subprocess.run([_command(), *arguments, "--json"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT, check=False)
    except FileNotFoundError as missing:
        raise Error("the sallyport command is not on the PATH; install it, or name it in SALLYPORT_COMMAND") from missing
    except subprocess.TimeoutExpired as slow:
        raise Error("the sallyport command took more than a minute") from slow
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = {}
    if done.returncode != 0:
        raise Error(answer.get("error", {}).get("message") or done.stderr.decode(errors="replace").strip() or "the sallyport command failed")
    return answer


class Token:
    """A callable that returns an access token which is still good, for one door and one scope.

    door is "api", "hf", "openai" or "vault"; scope is what the token may be used for, such as "model.infer@acme/fraud".
    A Token never prints what it holds. It is safe to call from several threads.
    """

    def __init__(self, door: str, scope: str) -> None:
        self._arguments = ("token", "--audience", door, "--for", scope)
        self._lock = threading.Lock()
        self._value = ""
        self._ends = 0.0

    def __call__(self) -> str:
        return self.get()[0]

    def get(self, fresh: bool = False) -> tuple[str, float]:
        """Return the token and when it ends, in seconds since 1970; fresh asks for a new one in any case."""
        with self._lock:
            if fresh or _now() + _EARLY >= self._ends:
                answer = _run(*self._arguments)
                self._value = answer["token"]
                self._ends = datetime.datetime.fromisoformat(answer["expires"].replace("Z", "+00:00")).timestamp()
            return self._value, self._ends

    def __repr__(self) -> str:
        return f"Token({self._arguments[2]!r}, {self._arguments[4]!r})"


def _now() -> float:
    return datetime.datetime.now(datetime.timezone.utc).timestamp()


def anthropic_credentials(door: str, scope: str):
    """Return what anthropic.Anthropic takes as credentials."""
    from anthropic.lib.credentials import AccessToken

    token = Token(door, scope)

    def provide(*, force_refresh: bool = False):
        value, ends = token.get(fresh=force_refresh)
        return AccessToken(token=value, expires_at=int(ends))

    return provide


def _without_proxy(host: str) -> None:
    """Keep requests to a host of this computer, and the key that they show, from a proxy that the environment names. Tools heed
    one of two spellings of the list: each keeps what was said in it, and a list in one spelling counts for both."""
    given = {name: os.environ[name] for name in ("NO_PROXY", "no_proxy") if name in os.environ}
    for name in ("NO_PROXY", "no_proxy"):
        present = given.get(name, next(iter(given.values()), ""))
        hosts = [h.strip() for h in present.split(",") if h.strip()]
        if host not in hosts and hosts != ["*"]:
            hosts.append(host)
        os.environ[name] = ",".join(hosts)


class Sidecar:
    """The login's doors at a loopback address: url, with /hf, /openai/v1 and the others below, and the key that opens them;
    server is the address of the server behind it.

    Where 'sallyport run' has started this process, its sidecar is used; else one is started and ended with close, with the
    end of a with statement, or with the process.
    """

    def __init__(self) -> None:
        self._process = None
        self.url = os.environ.get("SALLYPORT_SIDECAR", "")
        self.key = os.environ.get("SALLYPORT_SIDECAR_KEY", "")
        self.server = os.environ.get("SALLYPORT_SERVER", "")
        if not (self.url and self.key):
            self._start()
        _without_proxy("127.0.0.1")

    def _start(self) -> None:
        try:
            self._process = subprocess.Popen([_command(), "agent", "--json", "--quiet"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        except FileNotFoundError as missing:
            raise Error("the sallyport command is not on the PATH; install it, or name it in SALLYPORT_COMMAND") from missing
        atexit.register(self.close)
        text = b""
        for line in self._process.stdout:
            text += line
            try:
                answer = json.loads(text)
            except ValueError:
                continue
            if "env" in answer:
                env = answer["env"]
                self.url, self.key, self.server = env["SALLYPORT_SIDECAR"], env["SALLYPORT_SIDECAR_KEY"], env["SALLYPORT_SERVER"]
                return
            self.close()
            raise Error(answer.get("error", {}).get("message", "the sallyport command failed"))
        self.close()
        raise Error("the sallyport command ended before it served anything; run 'sallyport agent' to see why")

    def close(self) -> None:
        """End the sidecar if it is ours. Doing it twice is no error."""
        process, self._process = self._process, None
        if process is None:
            return
        atexit.unregister(self.close)
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def __enter__(self) -> "Sidecar":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Sidecar({self.url!r})"
