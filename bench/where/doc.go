// Package bench compares the two expression languages that a subscription's
// condition could be written in, CEL and expr, by what an event costs and by what
// each adds to the binary. It is a module of its own so that the server requires
// only the one it uses. Its results are committed in results.txt with the command
// that prints them.
package bench
