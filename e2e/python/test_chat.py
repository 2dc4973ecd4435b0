"""The stock openai package, unchanged, against the OpenAI door."""

import openai

from stage import GUARDED, UNKNOWN, Stage, name

name("OPENAI_BASE_URL")
name("OPENAI_API_KEY")
HELLO = [{"role": "user", "content": "Hello"}]


class ChatTest(Stage):
    def setUp(self):
        self.client = openai.OpenAI(max_retries=0, timeout=60)
        self.addCleanup(self.client.close)

    def test_models_are_those_one_may_read(self):
        listed = [model.id for model in self.client.models.list()]
        self.assertIn(GUARDED, listed)
        self.assertNotIn(UNKNOWN, listed)

    def test_one_model(self):
        self.assertEqual(self.client.models.retrieve(GUARDED).id, GUARDED)

    def test_chat(self):
        answer = self.client.chat.completions.create(model=GUARDED, messages=HELLO, max_tokens=16)
        self.assertTrue(answer.choices[0].message.content)
        self.assertGreater(answer.usage.completion_tokens, 0)

    def test_stream(self):
        chunks = list(self.client.chat.completions.create(model=GUARDED, messages=HELLO, max_tokens=16, stream=True))
        self.assertTrue("".join(c.choices[0].delta.content or "" for c in chunks if c.choices))
        self.assertTrue(any(c.choices and c.choices[0].finish_reason for c in chunks))
        # Nobody asked for usage, so no chunk without choices may arrive.
        self.assertTrue(all(c.choices for c in chunks))

    def test_stream_with_usage(self):
        options = {"include_usage": True}
        chunks = list(self.client.chat.completions.create(model=GUARDED, messages=HELLO, max_tokens=16, stream=True, stream_options=options))
        self.assertGreater(chunks[-1].usage.completion_tokens, 0)

    def test_completion(self):
        answer = self.client.completions.create(model=GUARDED, prompt="Once", max_tokens=16)
        self.assertTrue(answer.choices[0].text)

    def test_embeddings(self):
        answer = self.client.embeddings.create(model=GUARDED, input=["one", "two"])
        self.assertEqual([row.index for row in answer.data], [0, 1])
        self.assertGreater(len(answer.data[0].embedding), 1)
        self.assertEqual(len(answer.data[0].embedding), len(answer.data[1].embedding))

    def test_responses(self):
        answer = self.client.responses.create(model=GUARDED, input="Hello", max_output_tokens=16)
        self.assertTrue(answer.output_text)

    def test_responses_stream(self):
        events = list(self.client.responses.create(model=GUARDED, input="Hello", max_output_tokens=16, stream=True))
        # Sixteen tokens may be all, or only what was asked for.
        self.assertIn(events[-1].type, ("response.completed", "response.incomplete"))

    def test_unknown_model_is_not_found(self):
        with self.assertRaises(openai.NotFoundError):
            self.client.chat.completions.create(model=UNKNOWN, messages=HELLO)

    def test_denial_in_our_words(self):
        with self.assertRaises(openai.PermissionDeniedError) as raised:
            self.client.chat.completions.create(model=self.need_closed(), messages=HELLO)
        self.assertEqual(raised.exception.status_code, 403)
        self.assert_tells_the_way(raised.exception)

    def test_denial_of_a_stream_in_our_words(self):
        with self.assertRaises(openai.PermissionDeniedError) as raised:
            self.client.chat.completions.create(model=self.need_closed(), messages=HELLO, stream=True)
        self.assert_tells_the_way(raised.exception)

    def test_wrong_key_is_refused(self):
        with openai.OpenAI(api_key="sk-wrong", max_retries=0) as client:
            with self.assertRaises(openai.AuthenticationError):
                client.models.list()

    def test_unmapped_route_is_refused(self):
        with self.assertRaises(openai.APIStatusError) as raised:
            self.client.files.list()
        self.assertIn(raised.exception.status_code, (403, 404))
