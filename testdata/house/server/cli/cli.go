// Package cli keeps the rules.
package cli
