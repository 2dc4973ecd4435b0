// Package govern answers one question: is it still right?
//
// Its rooms hold what is against what was meant, and look back at what was given and what became of it:
//
//   - intent: what is meant to be, item by item, and how what is differs from it
//   - drift: what is against what is meant, who changed it, and putting it right
//   - drill: exercises against fraud, on volunteers, and how they went
//   - training: who was last trained when, and on whose word
//   - usage: what may be done against what was done, and the smaller right
//
// The house holds no code itself.
package govern
