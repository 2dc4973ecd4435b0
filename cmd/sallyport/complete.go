package main

import (
	"strings"

	"github.com/spf13/cobra"

	"sallyport"
)

// complete offers fixed words for a flag.
func complete(c *cobra.Command, flag string, words ...string) {
	offer(c, flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// completeActions offers actions, and ACTION@ for what follows.
func completeActions(c *cobra.Command, flag string) {
	offer(c, flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return actions(), cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
	})
}

func offer(c *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := c.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err) // cannot happen: the flag was defined a line above
	}
}

func actions() []string {
	var names []string
	for _, a := range sallyport.Actions() {
		names = append(names, string(a))
	}
	return names
}

// actionThenNothing completes ACTION RESOURCE. Resources are not listed: that would ask the server at every key.
func actionThenNothing(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return actions(), cobra.ShellCompDirectiveNoFileComp
	case 1:
		return resourceKinds(word), cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func resourceKinds(word string) []string {
	var fit []string
	for _, k := range []string{"org:", "project:", "dataset:", "endpoint:", "system"} {
		if strings.HasPrefix(k, word) {
			fit = append(fit, k)
		}
	}
	return fit
}

// words completes the first arguments, each from its own list.
func words(lists ...[]string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) < len(lists) {
			return lists[len(args)], cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}
