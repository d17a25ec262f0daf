package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/postern/postern/host"
)

// published compiles docs/schema: each file under the name that it gives
// itself, as whoever downloads it would.
func published(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for _, name := range []string{"event", "payment"} {
		text, err := os.ReadFile(filepath.Join("docs", "schema", name+".schema.json"))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource("urn:postern:schema:"+name+":1", doc); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := c.Compile("urn:postern:schema:event:1")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// TestSchema_holdsForEveryGolden takes each plugin's goldens in, from the
// callback through the sandbox into a store, and validates what a sink would
// be sent.
func TestSchema_holdsForEveryGolden(t *testing.T) {
	schema := published(t)
	for _, name := range providerNames(t) {
		t.Run(name, func(t *testing.T) {
			p := loadProvider(t, name)
			events := 0
			for i := range p.goldens {
				events += validate(t, schema, p, &p.goldens[i])
			}
			t.Logf("%d events of %d goldens", events, len(p.goldens))
			if events == 0 {
				t.Error("no golden gives an event")
			}
		})
	}
}

// validate returns how many events the golden gave.
func validate(t *testing.T, schema *jsonschema.Schema, p *provider, g *golden) int {
	t.Helper()
	d, err := p.desk(g, g.Secrets)
	if err != nil {
		t.Fatalf("%s: %v", g.Name, err)
	}
	_, _, receipt := d.take(g)
	if g.expect.Verdict != "accept" {
		return 0
	}
	rec, err := d.store.Callback(t.Context(), receipt.Seq)
	if err != nil {
		t.Errorf("%s: %v", g.Name, err)
		return 0
	}
	stored := len(receipt.Events)
	for _, d := range receipt.Events {
		if d == host.Duplicate { // of another item in the same batch
			stored--
		}
	}
	if len(receipt.Events) != len(g.expect.Events) || len(rec.Events) != stored {
		t.Errorf("%s: %d events are stored of %d, want %d of %d", g.Name, len(rec.Events), len(receipt.Events), stored, len(g.expect.Events))
	}
	for i := range rec.Events {
		text, err := rec.Events[i].MarshalJSON()
		if err != nil {
			t.Errorf("%s: event %d: %v", g.Name, i, err)
			continue
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Errorf("%s: event %d: %v", g.Name, i, err)
			continue
		}
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%s: event %d: %v\n%s", g.Name, i, err, text)
		}
	}
	return len(rec.Events)
}
