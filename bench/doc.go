// Package bench measures Postern against what it is built on: a callback's way
// through the sandbox beside the same logic in native Go, the store beside a
// plain append to a file, and the process as a whole. Its results are
// committed in results.txt and tables.txt with the command that prints them.
package bench
