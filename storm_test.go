package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestStorm_duplicates sends the callbacks of 1,000 payments again and again
// over 256 connections at once: each is stored once, and delivered once.
// POSTERN_STORM says how many callbacks in all (default 20,000).
func TestStorm_duplicates(t *testing.T) {
	const payments, connections = 1000, 256
	callbacks := numberFrom(t, "POSTERN_STORM", 20_000)
	s := newServed(t)
	s.start()
	bodies := make([]string, payments)
	for i := range bodies {
		bodies[i] = signed(fmt.Sprintf("storm-%04d", i))
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections}}
	defer client.CloseIdleConnections()
	var sent, refused atomic.Int64
	var clients sync.WaitGroup
	began := time.Now()
	for c := range connections {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(uint64(c), 1))
			for {
				n := sent.Add(1)
				if n > int64(callbacks) {
					return
				}
				// Each once in order, so that all come, then whichever.
				i := int(n-1) % payments
				if n > payments {
					i = r.IntN(payments)
				}
				status, err := s.send(client, bodies[i])
				if err != nil || status != http.StatusOK {
					refused.Add(1)
					t.Errorf("callback %d: status %d, %v", n, status, err)
					return
				}
			}
		})
	}
	clients.Wait()
	took := time.Since(began)
	stored := s.stored()
	if len(stored) != payments {
		t.Errorf("%d events are stored, want %d", len(stored), payments)
	}
	for reference, n := range stored {
		if n != 1 {
			t.Errorf("%s is stored %d times", reference, n)
		}
	}
	subject := regexp.MustCompile(`"subject":"(storm-\d+)"`)
	var delivered [][][]byte
	s.await("every event to reach the sink", func() bool {
		b, err := os.ReadFile(filepath.Join(s.dir, "events.ndjson"))
		delivered = subject.FindAllSubmatch(b, -1)
		return err == nil && len(delivered) >= payments
	})
	if len(delivered) != payments {
		t.Errorf("%d deliveries, want %d", len(delivered), payments)
	}
	t.Logf("%d callbacks of %d payments over %d connections in %v: %d stored, %d delivered, %d refused",
		callbacks, payments, connections, took.Round(time.Millisecond), len(stored), len(delivered), refused.Load())
}
