"""The stock huggingface_hub, unchanged, against the Hugging Face door."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import huggingface_hub as hub
from huggingface_hub import errors

from stage import GUARDED, OPEN, UNKNOWN, Stage, name

ENDPOINT = name("HF_ENDPOINT")
name("HF_TOKEN")


def weights_of(model):
    """The first weight file of a model."""
    return next(f for f in hub.list_repo_files(model) if f.endswith(".safetensors"))


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run_hf(*args):
    """The command line client that comes with the package, with this test's environment."""
    command = pathlib.Path(sys.executable).with_name("hf")
    return subprocess.run([command, *args], capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)


class HubTest(Stage):
    def setUp(self):
        # Each test starts without a cache: a cached file would be served without asking anybody.
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.place = place.name

    def test_whoami_names_the_person(self):
        self.assertTrue(hub.whoami()["name"])

    def test_info_pins_a_commit(self):
        info = hub.model_info(OPEN)
        self.assertRegex(info.sha, "^[0-9a-f]{40}$")
        self.assertIn("config.json", [file.rfilename for file in info.siblings])
        pinned = hub.model_info(OPEN, revision=info.sha)
        self.assertEqual(pinned.sha, info.sha)

    def test_one_file(self):
        path = hub.hf_hub_download(OPEN, "config.json", cache_dir=self.place)
        self.assertIsInstance(json.loads(pathlib.Path(path).read_text()), dict)

    def test_weights_arrive_whole(self):
        listed = {e.path: e for e in hub.HfApi().list_repo_tree(OPEN, recursive=True) if hasattr(e, "size")}
        folder = pathlib.Path(hub.snapshot_download(OPEN, cache_dir=self.place))
        self.assertEqual({str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}, set(listed))
        for path, entry in listed.items():
            self.assertEqual((folder / path).stat().st_size, entry.size, path)
            if entry.lfs:
                self.assertEqual(sha256(folder / path), entry.lfs.sha256, path)

    def test_no_way_around_over_xet(self):
        url = hub.hf_hub_url(OPEN, weights_of(OPEN))
        head = hub.get_hf_file_metadata(url)
        self.assertIsNone(head.xet_file_data)
        self.assertTrue(head.location.startswith(ENDPOINT), head.location)
        self.assertTrue(head.etag)
        self.assertGreater(head.size, 0)

    def test_ranges(self):
        weights = weights_of(OPEN)
        whole = pathlib.Path(hub.hf_hub_download(OPEN, weights, cache_dir=self.place)).read_bytes()
        header = hub.HfApi().parse_safetensors_file_metadata(OPEN, weights)
        self.assertGreater(len(header.tensors), 0)
        with hub.HfFileSystem().open(f"{OPEN}/{weights}", "rb", block_size=4096) as file:
            for at in (0, 1, len(whole) // 2, len(whole) - 100):
                file.seek(at)
                self.assertEqual(file.read(100), whole[at : at + 100], f"at {at}")

    def test_interrupted_download_goes_on(self):
        weights = weights_of(OPEN)
        want = sha256(hub.hf_hub_download(OPEN, weights, cache_dir=os.path.join(self.place, "a")))
        folder = os.path.join(self.place, "b")
        got = hub.hf_hub_download(OPEN, weights, local_dir=folder)
        # A second call finds the file there and current; it must not change it.
        self.assertEqual(hub.hf_hub_download(OPEN, weights, local_dir=folder), got)
        self.assertEqual(sha256(got), want)

    def test_missing_file_is_told_apart(self):
        with self.assertRaises(errors.EntryNotFoundError):
            hub.hf_hub_download(OPEN, "no-such-file.json", cache_dir=self.place)

    def test_missing_revision_is_told_apart(self):
        with self.assertRaises(errors.RevisionNotFoundError):
            hub.model_info(OPEN, revision="no-such-revision")

    def test_unknown_model_is_not_found(self):
        with self.assertRaises(errors.RepositoryNotFoundError) as raised:
            hub.model_info(UNKNOWN)
        self.assertNotIsInstance(raised.exception, errors.GatedRepoError)

    def test_wrong_token_is_refused(self):
        with self.assertRaises(errors.HfHubHTTPError) as raised:
            hub.HfApi(token="hf_" + "x" * 34).whoami()
        self.assertEqual(raised.exception.response.status_code, 401)

    def test_tokenizer_of_guarded_model(self):
        path = hub.hf_hub_download(GUARDED, "tokenizer.json", cache_dir=self.place)
        self.assertIsInstance(json.loads(pathlib.Path(path).read_text()), dict)

    def test_guarded_weights_are_denied_in_our_words(self):
        with self.assertRaises(errors.GatedRepoError) as raised:
            hub.hf_hub_download(GUARDED, weights_of(GUARDED), cache_dir=self.place)
        self.assertEqual(raised.exception.response.status_code, 403)
        self.assert_tells_the_way(raised.exception)

    def test_guarded_snapshot_is_denied_in_our_words(self):
        with self.assertRaises(errors.GatedRepoError) as raised:
            hub.snapshot_download(GUARDED, cache_dir=self.place)
        self.assert_tells_the_way(raised.exception)
        self.assertEqual([], list(pathlib.Path(self.place).rglob("*.safetensors")))

    def test_guarded_snapshot_without_weights(self):
        folder = pathlib.Path(hub.snapshot_download(GUARDED, cache_dir=self.place, ignore_patterns="*.safetensors"))
        self.assertTrue((folder / "tokenizer.json").is_file())

    def test_guarded_weights_are_denied_in_ranges(self):
        with self.assertRaises(Exception) as raised:
            with hub.HfFileSystem().open(f"{GUARDED}/{weights_of(GUARDED)}", "rb") as file:
                file.read(10)
        self.assertIn("403", str(raised.exception))

    def test_command_line(self):
        done = run_hf("download", OPEN, "config.json", "--local-dir", self.place)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(pathlib.Path(self.place, "config.json").is_file())

    def test_command_line_denial(self):
        # For a gated repository hf prints words of its own; ours reach the person in the X-HF-Warning header.
        done = run_hf("download", GUARDED, weights_of(GUARDED), "--local-dir", self.place)
        self.assertNotEqual(done.returncode, 0)
        self.assert_tells_the_way(done.stdout + done.stderr)
