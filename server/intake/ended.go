package intake

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
)

// watched is a listener whose connections remember that the other side has
// ended. fasthttp takes that for the end of a body in chunks, whole or not.
//
// It is told of each connection that fasthttp turns away because it serves
// enough of them, by the goroutine that accepts them.
type watched struct {
	net.Listener
	surplus func()
}

// Accept implements [net.Listener].
func (w *watched) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if secure, ok := c.(*tls.Conn); ok {
		return &tlsConn{Conn: secure, surplus: w.surplus}, nil // fasthttp asks it for its handshake
	}
	return &plainConn{Conn: c, surplus: w.surplus}, nil
}

type plainConn struct {
	net.Conn
	end
	surplus func()
}

func (c *plainConn) Read(p []byte) (int, error) { return c.note(c.Conn.Read(p)) }

// Write notes the answer to a connection that is not served, the only one that
// comes before anything was read.
func (c *plainConn) Write(p []byte) (int, error) {
	if c.first() {
		c.surplus()
	}
	return c.Conn.Write(p)
}

type tlsConn struct {
	*tls.Conn
	end
	surplus func()
}

func (c *tlsConn) Read(p []byte) (int, error) { return c.note(c.Conn.Read(p)) }

// Write sends nothing to a connection that is not served: it would wait for the
// handshake, which nobody bounds, and all that come after would wait with it.
func (c *tlsConn) Write(p []byte) (int, error) {
	if c.first() {
		c.surplus()
	}
	if !c.begun {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// end is used by one goroutine at a time: by the one that serves the connection,
// or by the one that turns it away.
type end struct {
	seen  bool
	begun bool // something was read, or tried to
	told  bool
}

// first says, once, that a write comes before anything was read.
func (e *end) first() bool {
	if e.begun || e.told {
		return false
	}
	e.told = true
	return true
}

// note takes an end that comes with bytes for one that comes after them: nobody
// has asked for more yet.
func (e *end) note(n int, err error) (int, error) {
	e.begun = true
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	if n > 0 {
		return n, nil
	}
	e.seen = true
	return n, err
}

// ended says that more was asked for than came.
func (e *end) ended() bool { return e.seen }

// cutOff says that the other side ended while a request was read.
func cutOff(c net.Conn) bool {
	e, ok := c.(interface{ ended() bool })
	return ok && e.ended()
}
