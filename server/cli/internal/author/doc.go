// Package author has the commands for whoever writes a plugin: a new one, its
// module, and its goldens through the sandbox.
package author
