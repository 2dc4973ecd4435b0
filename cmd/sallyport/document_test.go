package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestDocumentNamesEveryVerb: docs/cli.md has a line for every verb with each of its flags, and names none that is not there.
func TestDocumentNamesEveryVerb(t *testing.T) {
	text, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	root := (&app{}).root()
	root.InitDefaultCompletionCmd("x")
	told := map[string]map[string]bool{} // flags by verb
	for _, line := range documented(string(text)) {
		for _, words := range alternatives(strings.Fields(line)) {
			c, _, err := root.Find(words)
			if err != nil || !c.HasParent() || c.HasSubCommands() && !c.HasLocalFlags() && !strings.Contains(c.Use, " ") && c.Name() != "completion" {
				t.Errorf("%q names no verb (%v)", line, err)
				continue
			}
			if told[verbName(c)] == nil {
				told[verbName(c)] = map[string]bool{}
			}
			for _, flag := range flagNames.FindAllStringSubmatch(line, -1) {
				told[verbName(c)][flag[1]] = true
				if c.Flags().Lookup(flag[1]) == nil && c.InheritedFlags().Lookup(flag[1]) == nil {
					t.Errorf("%q: there is no --%s", line, flag[1])
				}
			}
		}
	}
	for name, c := range verbs() {
		if told[name] == nil {
			t.Errorf("docs/cli.md has no line for: sallyport %s", usageOf(c))
			continue
		}
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if !told[name][f.Name] {
				t.Errorf("docs/cli.md does not say --%s of: sallyport %s", f.Name, usageOf(c))
			}
		})
	}
}

var flagNames = regexp.MustCompile(`--([a-z][a-z-]*)`)

// documented are the command lines of a document's blocks of code, without their comments; a line that is indented goes on
// with the one before.
func documented(text string) []string {
	var lines []string
	code := false
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(strings.TrimRight(line, "\n"), " # ")
		switch {
		case strings.HasPrefix(line, "```"):
			code = !code
		case code && strings.HasPrefix(line, "sallyport "):
			lines = append(lines, strings.TrimPrefix(line, "sallyport "))
		case code && strings.HasPrefix(line, "    ") && len(lines) > 0:
			lines[len(lines)-1] += line
		}
	}
	return lines
}

// alternatives are the command lines that "a|b c|d" stands for.
func alternatives(words []string) [][]string {
	all := [][]string{nil}
	for i, w := range words {
		choice := []string{w}
		if i < 2 && !strings.HasPrefix(w, "[") {
			choice = strings.Split(w, "|")
		}
		var longer [][]string
		for _, before := range all {
			for _, w := range choice {
				longer = append(longer, append(before[:len(before):len(before)], w))
			}
		}
		all = longer
	}
	return all
}

// usageOf is a verb's line for the document.
func usageOf(c *cobra.Command) string {
	_, arguments, _ := strings.Cut(c.Use, " ")
	line := strings.TrimSpace(verbName(c) + " " + arguments)
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if strings.Contains(line, "--"+f.Name+" ") {
			return
		}
		value, _ := pflag.UnquoteUsage(f)
		switch {
		case f.Name == "help":
			return
		case value == "string", value == "stringArray", value == "strings":
			value = " TEXT"
		case value == "int", value == "uint":
			value = " N"
		case value == "duration":
			value = " TIME"
		case value != "":
			value = " " + strings.ReplaceAll(value, " or ", "|")
		}
		line += " [--" + f.Name + value + "]"
		if strings.HasSuffix(f.Value.Type(), "Array") || f.Value.Type() == "stringSlice" {
			line += "..."
		}
	})
	return line
}
