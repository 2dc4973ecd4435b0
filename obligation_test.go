package sallyport_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sallyport"
)

func TestParseObligation(t *testing.T) {
	for _, s := range []string{"limit-bytes=1", "limit-rate=9", "max-tokens=256", "logprobs=0", "logprobs=5", "files=*.json", "files=a/**/b?.bin", "range=0-0", "range=10-1048575"} {
		o, err := sallyport.ParseObligation(s)
		if err != nil || o.String() != s {
			t.Errorf("%s: %v, %v", s, o, err)
		}
	}
	for _, s := range []string{"", "limit-bytes", "limit-bytes=0", "limit-bytes=-1", "limit-bytes=+1", "limit-bytes=01", "max-tokens=0", "logprobs=-1", "logprobs=",
		"files=", "files=/a", "files=a/", "files=a//b", "files=../a", "files=a**", "files=*****", "files=a b", "files=ä", "files=a,b", "range=", "range=1", "range=2-1",
		"range=-1-2", "range=00-1", "range=0-99999999999999999999", "colour=red", "files"} {
		if o, err := sallyport.ParseObligation(s); sallyport.KindOf(err) != sallyport.Invalid {
			t.Errorf("%q is %v, error %v", s, o, err)
		}
	}
}

func TestMatchFile(t *testing.T) {
	for _, test := range []struct {
		glob, file string
		want       bool
	}{
		{"config.json", "config.json", true}, {"config.json", "a/config.json", false}, {"*.json", "config.json", true}, {"*.json", "a/config.json", false},
		{"**/*.json", "config.json", true}, {"**/*.json", "a/b/config.json", true}, {"a/**", "a/b/c", true}, {"a/**", "a", true}, {"a/**", "b/a", false},
		{"model-0000?-of-*.safetensors", "model-00001-of-00002.safetensors", true}, {"model-0000?-of-*", "model-00010-of-00020", false},
		{"*a*b", "xaxxb", true}, {"*a*b", "xbxxa", false}, {"**", "a/b", true}, {"*", "a/b", false}, {"[a]", "a", false}, {"*", "", false}, {"/a", "/a", false},
	} {
		if got := sallyport.MatchFile(test.glob, test.file); got != test.want {
			t.Errorf("%s matches %s: %v", test.glob, test.file, got)
		}
	}
}

func FuzzParseObligation(f *testing.F) {
	for _, s := range []string{"files=**/*.json", "range=0-5", "max-tokens=4", "logprobs=0", "files=a?"} {
		f.Add(s, "a/b.json")
	}
	f.Fuzz(func(t *testing.T, s, file string) {
		o, err := sallyport.ParseObligation(s)
		if err != nil {
			return
		}
		if o.String() != s {
			t.Fatalf("%q became %q", s, o)
		}
		if o.Kind == sallyport.OnlyFiles {
			sallyport.MatchFile(o.Text, file)
		}
	})
}

// TestAGlobMatchesWhatItWasMadeFrom: a path with some of its letters starred out.
func TestAGlobMatchesWhatItWasMadeFrom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		file := rapid.StringMatching(`[a-z]{1,6}(/[a-z]{1,6}){0,3}\.json`).Draw(t, "file")
		glob := []byte(file)
		for range rapid.IntRange(0, 3).Draw(t, "holes") {
			at := rapid.IntRange(0, len(glob)-1).Draw(t, "at")
			if glob[at] != '/' && glob[at] != '*' && (at == 0 || glob[at-1] != '*') && (at+1 == len(glob) || glob[at+1] != '*') {
				glob[at] = "*?"[rapid.IntRange(0, 1).Draw(t, "sign")]
			}
		}
		if !sallyport.MatchFile(string(glob), file) || sallyport.MatchFile(string(glob), file+"x") && !strings.Contains(string(glob), "*") {
			t.Fatalf("%s and %s", glob, file)
		}
	})
}
