//go:build !poison

package main

const tags = ""
