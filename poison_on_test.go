//go:build poison

package main

// tags are those of the server that the tests build: their own.
const tags = "poison"
