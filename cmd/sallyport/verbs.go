package main

import (
	"context"

	"sallyport/client"
)

// How a verb is added:
//
//  1. Its call of the server is a method of client.Client; its answer is a type of internal/web/api.
//  2. Its command is made by a method of app, in the file of its noun: Use names the arguments in capitals, Short says in
//     one line what it does, Args is arguments(…) with the same names, Example begins with "  sallyport ". Flags are
//     variables of that method. A value in a flag's text stands in backquotes. Fixed words are offered with complete.
//  3. RunE parses what it was given (usage for a wrong call, the Parse functions of the root package for names), and then
//     returns one of the shapes below. None of them prints an error or picks an exit code for one: report does, for all.
//  4. It is registered in the noun of its file, or in root where it is a noun itself.
//  5. Three tests fail until they know it: it gets a line with each of its flags in docs/cli.md
//     (TestDocumentNamesEveryVerb prints that line), and a command line in verbs_test.go, with which it is refused in every
//     way that there is; where its denial differs from the others', the script refused.txtar wants a word about it.
//
// The shapes:
//
//	return do(ctx, a, call, text)           // one answer: JSON, or what text prints
//	return rows(ctx, a, call, table, row)   // a list: JSON, or a table with a row for each
//	return judge(ctx, a, call, text, code)  // an answer that is good or bad news: its exit code is code's
//
// The call is a method of the client as it is, or with its arguments: (*client.Client).Who, with((*client.Client).Finding,
// id), with2((*client.Client).Leave, id, l). Where the method answers nothing, done says what is printed instead; waitingFor
// is around what may take long. What needs more (three arguments, two calls after another, a filter) is a function of the
// same type. Only a verb that has work to do on this computer between the calls (a file, a browser, progress) uses connect
// and answer itself.

// A call asks the server for a T.
type call[T any] func(*client.Client, context.Context) (T, error)

// do makes a call and answers with what came: as JSON, or by what text prints for people.
func do[T any](ctx context.Context, a *app, ask call[T], text func(T)) error {
	return judge(ctx, a, ask, text, func(T) int { return 0 })
}

// judge is do for answers that say good or bad news by the exit code: 0, or one of the codes of package client.
func judge[T any](ctx context.Context, a *app, ask call[T], text func(T), code func(T) int) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	v, err := ask(c, ctx)
	if err != nil {
		return err
	}
	if err := a.answer(v, func() { text(v) }); err != nil {
		return err
	}
	return ended(code(v))
}

// rows is do for lists: one row for each thing under the headings of t.
func rows[T any](ctx context.Context, a *app, ask call[[]T], t table, row func(T) []string) error {
	return do(ctx, a, ask, listed(a, t, row))
}

// listed prints a list as rows does, for judge.
func listed[T any](a *app, t table, row func(T) []string) func([]T) {
	return func(all []T) {
		for _, v := range all {
			t.row(row(v)...)
		}
		a.table(t)
	}
}

// with makes a call of a method of the client that takes one argument.
func with[A, T any](method func(*client.Client, context.Context, A) (T, error), arg A) call[T] {
	return func(c *client.Client, ctx context.Context) (T, error) { return method(c, ctx, arg) }
}

// with2 makes a call of a method of the client that takes two arguments.
func with2[A, B, T any](method func(*client.Client, context.Context, A, B) (T, error), first A, second B) call[T] {
	return func(c *client.Client, ctx context.Context) (T, error) { return method(c, ctx, first, second) }
}

// done makes a call of a method of the client that takes one argument and answers nothing; the answer is then v.
func done[A, T any](method func(*client.Client, context.Context, A) error, arg A, v T) call[T] {
	return func(c *client.Client, ctx context.Context) (T, error) { return v, method(c, ctx, arg) }
}

// waitingFor is a call that tells what is waited for when it takes long.
func waitingFor[T any](a *app, what string, ask call[T]) call[T] {
	return func(c *client.Client, ctx context.Context) (T, error) {
		defer a.waiting(what)()
		return ask(c, ctx)
	}
}
