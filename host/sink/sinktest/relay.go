package sinktest

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// Relay is a TCP address that passes everything on to another one, and can be
// told to fail: the way to have a real broker hang or go away for one sink
// alone. It ends with the test.
type Relay struct {
	// Address is host:port to connect to.
	Address string

	target string
	mu     sync.Mutex
	// down refuses connections; conns are those there are, both ends.
	down  bool
	conns map[net.Conn]bool
	// held is closed when answers may pass, nil while they do; arrived is closed
	// at the first byte towards the target since then.
	held, arrived chan struct{}
}

// NewRelay makes a relay to target, host:port.
func NewRelay(t *testing.T, target string) *Relay {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{Address: ln.Addr().String(), target: target, conns: map[net.Conn]bool{}}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { r.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		r.release()
		r.Cut()
		serving.Wait()
	})
	return r
}

// Cut ends every connection and refuses others until Restore.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = true
	for c := range r.conns {
		_ = c.Close()
	}
}

// Restore ends what Cut began.
func (r *Relay) Restore() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = false
}

// Hold keeps back all that the target says until release is called. arrived is
// closed once something was sent to the target: see [Probe.Hang].
func (r *Relay) Hold() (arrived <-chan struct{}, release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held, r.arrived = make(chan struct{}), make(chan struct{})
	return r.arrived, r.release
}

func (r *Relay) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held != nil {
		close(r.held)
		r.held = nil
	}
}

func (r *Relay) serve(client net.Conn) {
	defer client.Close()
	server, err := new(net.Dialer).DialContext(context.Background(), "tcp", r.target)
	if err != nil {
		return
	}
	defer server.Close()
	if !r.add(client, server) {
		return
	}
	defer r.remove(client, server)
	go func() {
		_, _ = io.Copy(client, &gate{server, r.mayAnswer})
		_ = client.Close()
	}()
	_, _ = io.Copy(server, &gate{client, r.note})
}

func (r *Relay) add(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		r.conns[c] = true
	}
	return !r.down
}

func (r *Relay) remove(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		delete(r.conns, c)
	}
}

// note closes arrived, once.
func (r *Relay) note() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.arrived != nil {
		close(r.arrived)
		r.arrived = nil
	}
}

func (r *Relay) mayAnswer() {
	r.mu.Lock()
	held := r.held
	r.mu.Unlock()
	if held != nil {
		<-held
	}
}

// gate calls pass before it hands on what it has read.
type gate struct {
	io.Reader
	pass func()
}

func (g *gate) Read(p []byte) (int, error) {
	n, err := g.Reader.Read(p)
	if n > 0 {
		g.pass()
	}
	return n, err
}
