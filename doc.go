// Package sallyport owns the vocabulary of the system: the words in which every
// protocol is reduced to one canonical question, decided, recorded and answered.
//
// A Principal asks for an Action on a Resource. The answer is a Decision with
// one of four outcomes (Allow, Deny, StepUp, Hold), the Reasons for it, the
// Obligations that whoever lets it happen must carry out, and the Remedies that
// would help somebody who was refused. What was asked, decided and delivered is
// written down as Events.
//
// The package leaves everything that acts to others: it does no I/O, reads no
// clock and imports the standard library only.
package sallyport
