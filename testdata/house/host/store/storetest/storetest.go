// Package storetest keeps the rules.
package storetest
