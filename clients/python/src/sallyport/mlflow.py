"""The MLflow plugin behind MLFLOW_TRACKING_AUTH=sallyport."""

from __future__ import annotations

import threading
from urllib.parse import urlsplit, urlunsplit

from mlflow.tracking.request_auth.abstract_request_auth_provider import RequestAuthProvider
from requests.auth import AuthBase

from sallyport import Error, Sidecar


class SallyportAuth(AuthBase):
    """Sends each request through the sidecar, which adds a token and the proof of the key it is bound to."""

    _lock = threading.Lock()
    _sidecar: "Sidecar | None" = None

    @classmethod
    def _here(cls) -> Sidecar:
        with cls._lock:
            if cls._sidecar is None:
                cls._sidecar = Sidecar()
            return cls._sidecar

    def __call__(self, request):
        here = self._here()
        origin = urlunsplit(urlsplit(request.url)[:2] + ("", "", ""))
        if origin not in (here.server, here.url):
            raise Error(f"you are signed in to {here.server}, and MLflow asks {origin}; set MLFLOW_TRACKING_URI to the former")
        request.url = urlunsplit(urlsplit(here.url)[:2] + urlsplit(request.url)[2:])
        request.headers["Authorization"] = "Bearer " + here.key
        return request


class SallyportAuthProvider(RequestAuthProvider):
    """What MLflow finds under the name "sallyport"."""

    def get_name(self) -> str:
        return "sallyport"

    def get_auth(self) -> SallyportAuth:
        return SallyportAuth()
