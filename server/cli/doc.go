// Package cli is the command line: one file for each command. A command that
// asks about what is stored speaks to the running server through admin.sock in
// its data directory; when nobody listens there, it opens the data directory
// itself and answers by the same routes.
//
// Tables are for people: they fit the terminal, and are whole where the output
// is no terminal. Programs read --json. Exit codes: 0 done, 1 it failed, 2 the
// command was not understood.
package cli
