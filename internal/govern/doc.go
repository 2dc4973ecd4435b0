// Package govern answers one question: is it still right?
//
// Its rooms look back at what was given and what became of it:
//
//   - drift: what may be done against what was done, and the smaller right
//
// The house holds no code itself.
package govern
