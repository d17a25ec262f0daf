//go:build linux

package lab

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A loading process notes, a line each, what it is about to do and what was
// acknowledged:
//
//	ack N SEQ DISPOSITIONS    callback N was acknowledged
//	full N                    it was refused because the disk is full
//	sub SINK                  a sink was subscribed
//	done SINK KEY CONTENT     is about to be settled as done
//	again SINK KEY CONTENT ATTEMPTS, dying SINK KEY CONTENT   the like
//	retry SINK KEY CONTENT ATTEMPTS, dead SINK KEY CONTENT    that is durable
//	redriving SINK            all dead letters are about to be redriven
//	bad TEXT                  something happened that must not
//	failed CAUSE, closed      the store has failed, was closed

// acked is a callback that was acknowledged.
type acked struct {
	n            int
	seq          uint64
	dispositions string
}

// history is what is known of one event in one sink.
type history struct {
	done     bool // it may be over
	dying    bool // it may be dead
	dead     bool // it is dead, and was not redriven since
	attempts int  // it is a retry after so many, and nothing was tried since; else zero
}

// ledger is what the notes come to.
type ledger struct {
	acks    []acked
	first   map[int]bool // those that were acknowledged
	subs    map[string]bool
	sinks   map[string]map[fact]*history
	bad     []string
	failed  string
	full    int
	dones   int
	highest int
}

func parseLedger(b []byte) (*ledger, error) {
	l := &ledger{first: make(map[int]bool), subs: make(map[string]bool), sinks: make(map[string]map[fact]*history), highest: -1}
	for line := range bytes.Lines(b) {
		if err := l.take(strings.TrimSuffix(string(line), "\n")); err != nil {
			return nil, fmt.Errorf("note %q: %w", line, err)
		}
	}
	return l, nil
}

func (l *ledger) take(line string) error {
	what, rest, _ := strings.Cut(line, " ")
	switch what {
	case "ack":
		var a acked
		number, rest, _ := strings.Cut(rest, " ")
		seq, dispositions, _ := strings.Cut(rest, " ")
		var err, err2 error
		a.n, err = strconv.Atoi(number)
		a.seq, err2 = strconv.ParseUint(seq, 10, 64)
		a.dispositions = dispositions
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		l.acks = append(l.acks, a)
		l.first[a.n] = true
		l.highest = max(l.highest, a.n)
	case "full":
		l.full++
	case "sub":
		l.subs[rest] = true
	case "bad":
		l.bad = append(l.bad, rest)
	case "failed":
		l.failed = rest
	case "closed":
	case "redriving":
		for _, h := range l.sinks[rest] {
			h.dead = false
		}
	default:
		return l.settle(what, rest)
	}
	return nil
}

func (l *ledger) settle(what, rest string) error {
	sink, rest, _ := strings.Cut(rest, " ")
	var numbers [3]int // key, content, attempts
	for i, text := range strings.Fields(rest) {
		var err error
		if numbers[i], err = strconv.Atoi(text); err != nil {
			return err
		}
	}
	f, attempts := fact{numbers[0], numbers[1]}, numbers[2]
	if l.sinks[sink] == nil {
		l.sinks[sink] = make(map[fact]*history)
	}
	h := l.sinks[sink][f]
	if h == nil {
		h = &history{}
		l.sinks[sink][f] = h
	}
	h.attempts = 0
	switch what {
	case "done":
		h.done = true
		l.dones++
	case "again":
	case "retry":
		h.attempts = attempts
	case "dying":
		h.dying = true
	case "dead":
		h.dead = true
	default:
		return fmt.Errorf("%q is no note", what)
	}
	return nil
}
