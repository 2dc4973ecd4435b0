"""What the suites share: the environment that the harness sets, and what every denial must tell a person."""

import os
import unittest


def name(variable):
    """The value of a variable that the harness must have set."""
    value = os.environ.get(variable, "")
    if not value:
        raise SystemExit(f"{variable} is not set: run these suites through e2e_test.go")
    return value


OPEN = name("SALLYPORT_MODEL_OPEN")  # this person may read and pull it
GUARDED = name("SALLYPORT_MODEL_GUARDED")  # this person may call it and read its tokenizer, not pull its weights
CLOSED = os.environ.get("SALLYPORT_MODEL_CLOSED", "")  # this person may read its card and nothing else
UNKNOWN = OPEN.split("/")[0] + "/no-such-model"


class Stage(unittest.TestCase):
    """A test case that knows what a denial of ours looks like."""

    maxDiff = None

    def assert_tells_the_way(self, text):
        """The person reads our own sentence, and the command that asks for the missing right."""
        self.assertIn("sallyport request", str(text))
        self.assertNotIn("check your connection", str(text).lower())

    def need_closed(self):
        if not CLOSED:
            self.skipTest("SALLYPORT_MODEL_CLOSED names no model that may only be read")
        return CLOSED
