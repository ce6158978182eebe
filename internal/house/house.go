// Package house holds the tests of what is true of the whole tree: who may import whom, that everything exported is
// documented, and that what the README shows exists.
package house
