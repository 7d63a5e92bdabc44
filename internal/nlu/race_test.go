//go:build race

package nlu

// raced says that the race detector is on. A sync.Pool then forgets things on
// purpose, and allocations count for nothing.
const raced = true
