package intake

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
)

// watched is a listener whose connections remember that the other side has
// ended. fasthttp takes that for the end of a body in chunks, whole or not.
type watched struct{ net.Listener }

// Accept implements [net.Listener].
func (w *watched) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if secure, ok := c.(*tls.Conn); ok {
		return &tlsConn{Conn: secure}, nil // fasthttp asks it for its handshake
	}
	return &plainConn{Conn: c}, nil
}

type plainConn struct {
	net.Conn
	end
}

func (c *plainConn) Read(p []byte) (int, error) { return c.note(c.Conn.Read(p)) }

type tlsConn struct {
	*tls.Conn
	end
}

func (c *tlsConn) Read(p []byte) (int, error) { return c.note(c.Conn.Read(p)) }

// end is used by the goroutine alone that serves the connection.
type end struct{ seen bool }

// note takes an end that comes with bytes for one that comes after them: nobody
// has asked for more yet.
func (e *end) note(n int, err error) (int, error) {
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
