package admin

import (
	"context"
	"net/http"

	"github.com/postern/postern/host"
)

func (a *Admin) deadLetters(r *http.Request) (any, error) {
	sink := r.PathValue("sink")
	page, err := readPage(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	letters, next, err := a.o.Queue.DeadLetters(r.Context(), sink, page.After, page.Limit)
	if err != nil {
		return nil, ofSink("read the dead letters", sink, err)
	}
	return map[string]any{"deadletters": list(letters), "next": next}, nil
}

// deadLetter finds one by its event's id, looking through all of the sink's.
func (a *Admin) deadLetter(r *http.Request) (any, error) {
	sink, id := r.PathValue("sink"), r.PathValue("id")
	if _, err := readQuery(r.URL.RawQuery); err != nil {
		return nil, err
	}
	var after host.Cursor
	for {
		letters, next, err := a.o.Queue.DeadLetters(r.Context(), sink, after, maxLimit)
		if err != nil {
			return nil, ofSink("read the dead letters", sink, err)
		}
		for i := range letters {
			if letters[i].Event.ID() == id {
				return &letters[i], nil
			}
		}
		if next == "" || next == after {
			return nil, notFound("no dead letter of this sink has this event id")
		}
		after = next
	}
}

func (a *Admin) redrive(r *http.Request) (any, error) {
	var wanted struct {
		IDs []string `json:"ids"`
	}
	if err := readBody(r, &wanted, `{"ids":["…"]}`); err != nil {
		return nil, err
	}
	n, err := ofLetters(r, "redrive the dead letters", wanted.IDs, a.o.Queue.Redrive)
	if err != nil {
		return nil, err
	}
	a.o.Wake()
	return map[string]int{"redriven": n}, nil
}

// discardLetters is for good, so that it takes no silence for everything.
func (a *Admin) discardLetters(r *http.Request) (any, error) {
	var wanted struct {
		IDs []string `json:"ids"`
		All bool     `json:"all"`
	}
	if err := readBody(r, &wanted, `{"ids":["…"]} or {"all":true}`); err != nil {
		return nil, err
	}
	if wanted.All == (len(wanted.IDs) > 0) {
		return nil, invalid(`give "ids", or "all": true (one of the two)`)
	}
	n, err := ofLetters(r, "discard the dead letters", wanted.IDs, a.o.Queue.Discard)
	if err != nil {
		return nil, err
	}
	return map[string]int{"discarded": n}, nil
}

// ofLetters does something to dead letters of the sink of a route.
func ofLetters(r *http.Request, doing string, ids []string, do func(context.Context, string, ...string) (int, error)) (int, error) {
	sink := r.PathValue("sink")
	for _, id := range ids {
		if _, err := host.ParseID(id); err != nil {
			return 0, invalid("ids: %v", err)
		}
	}
	n, err := do(r.Context(), sink, ids...)
	if err != nil {
		return 0, ofSink(doing, sink, err)
	}
	return n, nil
}
