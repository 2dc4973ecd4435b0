"""The package against a real server: SALLYPORT_COMMAND is the command, XDG_CONFIG_HOME holds a login, SALLYPORT_SERVER its server."""

import json
import os
import unittest
import unittest.mock
import urllib.error
import urllib.request

import sallyport

SERVER = os.environ["SALLYPORT_SERVER"]
OPEN = os.environ["SALLYPORT_MODEL_OPEN"]


def whoami(url, key):
    request = urllib.request.Request(url + "/api/v1/whoami", headers={"Authorization": "Bearer " + key})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return json.load(answer)


class TestToken(unittest.TestCase):
    def test_it_is_kept_while_it_lives(self):
        token = sallyport.Token("api", "server.read model.list")
        first, ends = token.get()
        self.assertEqual(token(), first)
        self.assertGreater(ends, 0)
        self.assertNotEqual(token.get(fresh=True)[0], first)
        self.assertNotIn(first, repr(token))

    def test_a_refusal_says_what_to_do(self):
        with self.assertRaisesRegex(sallyport.Error, "not an action"):
            sallyport.Token("api", "model.fly")()

    def test_no_command(self):
        before = os.environ["SALLYPORT_COMMAND"]
        os.environ["SALLYPORT_COMMAND"] = before + "-missing"
        try:
            for attempt in (sallyport.Token("api", "model.list"), sallyport.Sidecar):
                with self.assertRaisesRegex(sallyport.Error, "not on the PATH"):
                    attempt()
        finally:
            os.environ["SALLYPORT_COMMAND"] = before


class TestSidecar(unittest.TestCase):
    def test_the_doors_without_a_token(self):
        with sallyport.Sidecar() as here:
            self.assertEqual(here.server, SERVER)
            self.assertEqual(whoami(here.url, here.key)["id"], "user:ana")
            with self.assertRaises(urllib.error.HTTPError) as refused:
                whoami(here.url, here.key + "x")
            self.assertEqual(refused.exception.code, 401)
            url, key = here.url, here.key
        with self.assertRaises(urllib.error.URLError):
            whoami(url, key)

    def test_that_of_the_environment_is_used(self):
        with sallyport.Sidecar() as here:
            os.environ.update(SALLYPORT_SIDECAR=here.url, SALLYPORT_SIDECAR_KEY=here.key)
            try:
                other = sallyport.Sidecar()
                other.close()  # it is not its own
                self.assertEqual(whoami(other.url, other.key)["id"], "user:ana")
            finally:
                del os.environ["SALLYPORT_SIDECAR"], os.environ["SALLYPORT_SIDECAR_KEY"]


class TestProxies(unittest.TestCase):
    def test_none_is_asked_for_the_sidecar(self):
        before = {name: os.environ.get(name) for name in ("NO_PROXY", "no_proxy", "http_proxy")}
        os.environ.update(NO_PROXY="corp.example", http_proxy="http://127.0.0.1:9")
        os.environ.pop("no_proxy", None)
        try:
            with sallyport.Sidecar() as here:
                self.assertEqual(os.environ["NO_PROXY"], "corp.example,127.0.0.1")
                self.assertEqual(os.environ["no_proxy"], "corp.example,127.0.0.1")
                self.assertTrue(urllib.request.proxy_bypass("127.0.0.1"))
                request = urllib.request.Request(here.url + "/api/v1/whoami", headers={"Authorization": "Bearer " + here.key})
                with urllib.request.urlopen(request, timeout=30) as answer:
                    self.assertEqual(json.load(answer)["id"], "user:ana")
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def test_what_is_kept_from_proxies_stays_so(self):
        for given, want in (
            ({}, ("127.0.0.1", "127.0.0.1")),
            ({"no_proxy": "a"}, ("a,127.0.0.1", "a,127.0.0.1")),
            ({"NO_PROXY": "a", "no_proxy": "b"}, ("a,127.0.0.1", "b,127.0.0.1")),
            ({"NO_PROXY": "a", "no_proxy": ""}, ("a,127.0.0.1", "127.0.0.1")),
            ({"NO_PROXY": "*"}, ("*", "*")),
            ({"NO_PROXY": "127.0.0.1, a"}, ("127.0.0.1,a", "127.0.0.1,a")),
        ):
            with self.subTest(given), unittest.mock.patch.dict(os.environ, given, clear=True):
                sallyport._without_proxy("127.0.0.1")
                self.assertEqual((os.environ["NO_PROXY"], os.environ["no_proxy"]), want)


class TestOpenAI(unittest.TestCase):
    def test_a_key_that_is_called_for(self):
        import openai

        token = sallyport.Token("openai", "*")
        client = openai.OpenAI(base_url=SERVER + "/openai/v1", api_key=token)
        self.assertIn(OPEN, [m.id for m in client.models.list()])

    def test_the_scope_holds(self):
        import openai

        client = openai.OpenAI(base_url=SERVER + "/openai/v1", api_key=sallyport.Token("openai", "model.read"))
        with self.assertRaisesRegex(openai.APIStatusError, "token"):
            client.chat.completions.create(model=OPEN, messages=[{"role": "user", "content": "hello"}], max_tokens=4)

    def test_through_a_sidecar(self):
        import openai

        with sallyport.Sidecar() as here:
            client = openai.OpenAI(base_url=here.url + "/openai/v1", api_key=here.key)
            answer = client.chat.completions.create(model=OPEN, messages=[{"role": "user", "content": "hello"}], max_tokens=4)
            self.assertTrue(answer.choices)


class TestAnthropic(unittest.TestCase):
    def test_the_credentials_reach_the_server(self):
        import anthropic

        # The list of models is the one route that both dialects have.
        client = anthropic.Anthropic(base_url=SERVER + "/openai", credentials=sallyport.anthropic_credentials("openai", "*"), max_retries=0)
        self.assertIn(OPEN, [m.id for m in client.models.list()])
        bad = anthropic.Anthropic(base_url=SERVER + "/openai", auth_token="nobody", max_retries=0)
        with self.assertRaises(anthropic.AuthenticationError):
            bad.models.list()


class TestMLflow(unittest.TestCase):
    """MLflow's own HTTP path, asked for a page of the management API: what it sends is what a tracking call sends."""

    def ask(self, host):
        from mlflow.utils.rest_utils import MlflowHostCreds, http_request

        return http_request(MlflowHostCreds(host, auth="sallyport"), "/api/v1/whoami", "GET", max_retries=0)

    def test_by_the_plugin(self):
        answer = self.ask(SERVER)
        self.assertEqual((answer.status_code, answer.json()["id"]), (200, "user:ana"))

    def test_another_server_gets_nothing(self):
        with self.assertRaisesRegex(Exception, "you are signed in to"):
            self.ask("http://127.0.0.1:9")

    def test_by_token(self):
        from mlflow.utils.rest_utils import MlflowHostCreds, http_request

        creds = MlflowHostCreds(SERVER, token=sallyport.Token("api", "*")())
        self.assertEqual(http_request(creds, "/api/v1/whoami", "GET", max_retries=0).json()["id"], "user:ana")


if __name__ == "__main__":
    unittest.main()
