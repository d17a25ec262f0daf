package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
)

// SocketName is the socket's name in the data directory.
const SocketName = "admin.sock"

// maxSocketPath is what the smallest of the systems' limits leaves for a path.
const maxSocketPath = 103

// ListenSocket listens on the socket in the data directory dir, which only its
// owner can open. A socket that a dead process left behind is replaced; one
// that answers is an error. The listener removes the socket when it is closed.
func ListenSocket(ctx context.Context, dir string) (net.Listener, error) {
	path := filepath.Join(dir, SocketName)
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("listen on %s: the path has %d bytes, a socket's may have %d; use a shorter store.path",
			path, len(path), maxSocketPath)
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for operators: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("close the admin socket to others: %w", err), ln.Close())
	}
	return ln, nil
}

// removeStale removes a socket that nobody answers on. The lock of the data
// directory is what keeps two servers apart; this only saves an engine without
// one from taking over the other's socket.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path) //nolint:gosec // the operator names the directory
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the admin socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is no socket; remove it, or use another store.path", path)
	}
	var d net.Dialer
	if conn, err := d.DialContext(ctx, "unix", path); err == nil {
		_ = conn.Close()
		return fmt.Errorf("a server answers on %s already", path)
	}
	if err := os.Remove(path); err != nil { //nolint:gosec // the operator names the directory
		return fmt.Errorf("remove a dead server's socket: %w", err)
	}
	return nil
}
